"""Export to the formats of other toolkits: nnU-Net's raw format and MONAI's datalist.

Both toolkits then train on the same images, regions and folds. An export replaces its folder at once.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from taichinet.datasets.folds import FoldPlan, verify_folds
from taichinet.datasets.image_io import read_grey, read_rgb
from taichinet.datasets.interchange.cases import RECORD, Case, case_names, read_index, recorded_cases
from taichinet.datasets.interchange.label_map import declare, encode
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import is_clutter, listing
from taichinet.datasets.readers.monai import LISTS
from taichinet.datasets.readers.nnunet import INDEX as NNUNET_INDEX
from taichinet.datasets.readers.nnunet import SPLITS
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError, SettingError
from taichinet.progress import tracked
from taichinet.storage.atomic import replacing, write_text
from taichinet.storage.output_folder import record_files, refuse_foreign_files

MONAI_INDEX = "datalist.json"
PARTIAL = ".taichinet-export"  # hidden: no reader, ours or nnU-Net's, looks into it


def export_nnunet(
    manifest: Manifest,
    out: Path,
    dataset_id: int = 500,
    plan: FoldPlan | None = None,
    colour: bool = False,
    overwrite: bool = False,
) -> Path:
    """Export a data set to the raw format of nnU-Net v2.

    With a plan, every sample is a training case, and `val` of fold k in splits_final.json is the test set of fold k.
    Without one, or with an official one, samples of the part "test" are in imagesTs, and the splits are the official
    folds or validation set, if any. The same samples give the same bytes.

    Source: documentation/dataset_format.md, region_based_training.md and manual_data_splits.md of nnU-Net v2.

    Args:
        manifest: The data set.
        out: The folder nnUNet_raw; the data set is written to `out`/DatasetNNN_NAME.
        dataset_id: The number NNN, 1 to 999.
        plan: Folds to export.
        colour: Whether images are RGB; otherwise they are grey. All files are PNG at the original resolution.
        overwrite: Whether to replace files of an earlier export that were changed since.

    Returns:
        The folder of the data set.

    Raises:
        DataError: A file cannot be read, the regions are not nested, or the folder has other content. Nothing is
            written.
        FoldError: The plan was made for other images. Nothing is written.
        SettingError: The number is invalid or in use, or no sample is left for training. Nothing is written.
        StorageError: A file cannot be written, or was changed since an earlier export.
    """
    _refuse_separate_regions(manifest)
    folder = _nnunet_folder(out, dataset_id, manifest.name)
    plan, folds = _verified_folds(manifest, plan)
    names = case_names(manifest.keys)
    test = {sample.key for sample in manifest if plan is None and sample.part == "test"}
    train = [sample for sample in manifest if sample.key not in test]
    if not train:
        raise SettingError(
            f"All samples of {manifest.name} are in its test set: nnU-Net needs some to train. Give folds."
        )
    splits = _splits(train, names, folds)
    with _replaced_folder(folder, NNUNET_INDEX, [SPLITS], overwrite) as partial:
        ends = {sample.key: "Ts" if sample.key in test else "Tr" for sample in manifest}
        images = [partial / f"images{ends[key]}" / f"{names[key]}_0000.png" for key in manifest.keys]
        labels = [partial / f"labels{ends[key]}" / f"{names[key]}.png" for key in manifest.keys]
        _write_images(manifest, list(zip(images, labels, strict=True)), colour)
        if splits:
            _write_json(splits, partial / SPLITS)
        _write_json(_nnunet_index(manifest, names, plan, len(train), colour), partial / NNUNET_INDEX)
    return folder


def _nnunet_folder(out: Path, dataset_id: int, name: str) -> Path:
    """The folder of the data set in `out`; raises SettingError if the number is invalid or another data set has it."""
    if not 1 <= dataset_id <= 999:
        raise SettingError(f"nnU-Net numbers data sets 1 to 999, not {dataset_id}; 500 and more are free for your own.")
    identity = f"Dataset{dataset_id:03d}_"
    folder = out / (identity + re.sub(r"[^A-Za-z0-9]+", "", name))
    taken = [other for other in sorted(out.glob(f"{identity}*")) if other.name != folder.name]
    if taken:
        raise SettingError(
            f"{taken[0]} has the number {dataset_id} already; nnU-Net needs one number per data set. Give another."
        )
    return folder


def _nnunet_index(
    manifest: Manifest, names: dict[str, str], plan: FoldPlan | None, trained: int, colour: bool
) -> dict[str, Any]:
    """dataset.json; with several regions nnU-Net trains each including its inner ones and needs their order."""
    regions = manifest.regions
    order = {"regions_class_order": list(range(1, len(regions) + 1))} if len(regions) > 1 else {}
    return {
        "name": manifest.name,
        "channel_names": {"0": "R", "1": "G", "2": "B"} if colour else {"0": "grey"},
        "labels": declare(regions),
        **order,
        "numTraining": trained,
        "file_ending": ".png",
        RECORD: _record(manifest, names, plan),
    }


def _splits(train: list[Sample], names: dict[str, str], folds: dict[str, int]) -> list[dict[str, list[str]]]:
    """splits_final.json; a case without a fold is used for training in all. Empty without folds."""
    held_out = [[s.key for s in train if folds.get(s.key) == fold] for fold in sorted(set(folds.values()))]
    if not folds:
        held_out = [[s.key for s in train if s.part == "validation"]]
    return [
        {
            "train": [names[s.key] for s in train if s.key not in set(validated)],
            "val": [names[key] for key in validated],
        }
        for validated in held_out
        if validated
    ]


def export_monai(
    manifest: Manifest, out: Path, plan: FoldPlan | None = None, colour: bool = False, overwrite: bool = False
) -> Path:
    """Export a data set to a MONAI datalist: `out`/{images,labels}/CASE.png and `out`/datalist.json.

    With a plan, all samples are in "training", and "fold" is the fold in which a sample is tested
    (monai.auto3dseg.datafold_read holds it out). Without one, or with an official one, "validation" and "test" are the
    official parts, and "fold" is the official fold, if any. The same samples give the same bytes.

    Args:
        manifest: The data set.
        out: Folder of the export.
        plan: Folds to export.
        colour: Whether images are RGB; otherwise they are grey. All files are PNG at the original resolution.
        overwrite: Whether to replace files of an earlier export that were changed since.

    Returns:
        The file datalist.json.

    Raises:
        DataError: A file cannot be read, the regions are not nested, or the folder has other content. Nothing is
            written.
        FoldError: The plan was made for other images. Nothing is written.
        StorageError: A file cannot be written, or was changed since an earlier export.
    """
    _refuse_separate_regions(manifest)
    plan, folds = _verified_folds(manifest, plan)
    names = case_names(manifest.keys)
    with _replaced_folder(out, MONAI_INDEX, overwrite=overwrite) as partial:
        files = [(partial / "images" / f"{name}.png", partial / "labels" / f"{name}.png") for name in names.values()]
        _write_images(manifest, files, colour)
        _write_json(_datalist(manifest, names, folds, plan), partial / MONAI_INDEX)
    return out / MONAI_INDEX


def _datalist(
    manifest: Manifest, names: dict[str, str], folds: dict[str, int], plan: FoldPlan | None
) -> dict[str, Any]:
    lists: dict[str, list[dict[str, Any]]] = {"training": []}
    list_of = {part: name for name, part in reversed(LISTS)}  # "test", not its second name "testing"
    for sample in manifest:
        name = "training" if plan is not None or sample.part is None else list_of[sample.part]
        case = names[sample.key]
        fold = {"fold": folds[sample.key]} if sample.key in folds else {}
        entry = {"image": f"images/{case}.png", "label": f"labels/{case}.png", **fold}
        lists.setdefault(name, []).append(entry)
    return {
        "name": manifest.name,
        "labels": declare(manifest.regions),
        "numTraining": len(lists["training"]),
        "numTest": len(lists.get("test", [])),
        **lists,
        RECORD: _record(manifest, names, plan),
    }


@contextmanager
def _replaced_folder(target: Path, index: str, others: Sequence[str] = (), overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder whose content replaces that of `target` when the block ends, `index` last.

    An export that fails or is interrupted leaves `target` unchanged.

    Args:
        target: Folder of the export.
        index: Name of the index file.
        others: Names of other files of an export.
        overwrite: Whether to replace files that were changed since an earlier export.

    Raises:
        DataError: `target` contains anything but an earlier export (`index`, the cases that it records, `others`).
        StorageError: A file of an earlier export was changed since.
    """
    target = target.resolve()
    _refuse_foreign(target, index, others)
    refuse_foreign_files(target, _files(target), overwrite)
    new_target = not target.exists()
    partial = target / PARTIAL  # inside, since a folder beside it may be on another disk
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        (target / index).unlink(missing_ok=True)  # not an export until the new index exists
        for old in (Path(str(entry)) for entry in listing(target)):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        for new in sorted(partial.iterdir(), key=lambda path: path.name == index):
            new.replace(target / new.name)
        record_files(target, _files(target))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if new_target and not any(target.iterdir()):
            target.rmdir()


def _write_images(manifest: Manifest, files: Sequence[tuple[Path, Path]], colour: bool) -> None:
    """Write the image and label map of each sample as 8-bit PNG at the original resolution, to the pairs of `files`.

    Images are grey, or RGB with `colour`. Raises DataError naming every file that cannot be read, all at once.
    """
    problems: list[str] = []
    for folder in {path.parent for pair in files for path in pair}:
        folder.mkdir(parents=True, exist_ok=True)

    def write(job: tuple[Sample, tuple[Path, Path]]) -> None:
        sample, (image, labels) = job
        try:
            pixels = read_rgb(sample.image) if colour else read_grey(sample.image)
            regions = manifest.region_masks(sample)
        except DataError as error:
            problems.append(str(error))
            return
        for path, content in ((image, pixels), (labels, encode(regions))):
            with replacing(path) as temporary:
                Image.fromarray(content).save(temporary, format="PNG")

    with ThreadPoolExecutor(max_workers=2) as pool:
        written = pool.map(write, zip(manifest.samples, files, strict=True))
        for _ in tracked(written, "writing images", len(manifest.samples)):
            pass
    if problems:
        raise DataError(
            f"{len(problems)} files of {manifest.name} cannot be exported. Repair or remove them:", sorted(problems)
        )


def _verified_folds(manifest: Manifest, plan: FoldPlan | None) -> tuple[FoldPlan | None, dict[str, int]]:
    """`plan`, verified, and the fold of each key in it; for an official plan None and the folds of the samples."""
    if not manifest.samples:
        raise DataError(f"There is nothing to export: {manifest.name} has no samples.")
    if plan is not None:
        verify_folds(plan, manifest)
    if plan is None or plan.protocol == "official":
        return None, {sample.key: sample.fold for sample in manifest if sample.fold is not None}
    return plan, dict(plan.fold_of)


def _record(manifest: Manifest, names: dict[str, str], plan: FoldPlan | None) -> dict[str, Any]:
    """The entry of the index for this package: the source, the attributes of each case, and how folds were drawn."""
    cases = {names[s.key]: asdict(Case(s.key, s.label, s.patient, s.part)) for s in manifest}
    known = {name: {word: value for word, value in case.items() if value is not None} for name, case in cases.items()}
    folds = {} if plan is None else {"folds": {"protocol": plan.protocol, "seed": plan.seed, "count": plan.count}}
    return {"source": manifest.name, "cases": known, **folds}


def _write_json(content: object, file: Path) -> None:
    """`content` as readable JSON."""
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _files(target: Path) -> list[str]:
    """The files of `target`, without hidden ones, relative to it."""
    files = (file.relative_to(target) for file in sorted(target.rglob("*")) if not file.is_dir())
    return [str(file) for file in files if not any(is_clutter(name) for name in file.parts)]


def _refuse_separate_regions(manifest: Manifest) -> None:
    """Raise DataError if regions may overlap, which one label map per image cannot show."""
    if not manifest.nested:
        raise DataError(
            f"The regions {', '.join(manifest.regions)} of {manifest.name} are separate, and a label map can only show "
            "nested ones. Export each region alone, from a folder with its masks."
        )


def _refuse_foreign(target: Path, index: str, others: Sequence[str]) -> None:
    """Raise DataError unless `target` is absent, empty, or contains only an earlier export."""
    if not target.exists():
        return
    remedy = "Give another folder, or empty this one."
    if not target.is_dir():
        raise DataError(f"{target} is a file, not a folder to export into. {remedy}")
    if not listing(target):
        return
    try:
        cases = recorded_cases(read_index(target / index), target / index)
    except DataError:
        cases = {}
    if not cases:
        raise DataError(f"{target} is not empty and is not an earlier export. {remedy}")
    own = {target / name for name in (index, *others)}
    for file in (target / name for name in _files(target)):
        if file in own:
            continue
        if file.stem.removesuffix("_0000") not in cases:
            raise DataError(
                f"{target} is an earlier export, but {file} does not belong to it and would be lost. {remedy}"
            )
