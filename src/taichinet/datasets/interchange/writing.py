"""What both exports do: a folder that becomes whole at once, pictures as PNG, and the folds to write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from taichinet.datasets.folds import FoldPlan, verify_folds
from taichinet.datasets.image_io import read_grey, read_rgb, region_masks
from taichinet.datasets.interchange.cases import read_index, record, recorded_cases
from taichinet.datasets.interchange.label_map import encode
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import is_clutter, listing
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError
from taichinet.storage.atomic import replacing, write_text
from taichinet.storage.output_folder import record_files, refuse_foreign_files

PARTIAL = ".taichinet-export"  # hidden: no reader, ours or nnU-Net's, looks into it


@contextmanager
def whole_folder(target: Path, index: str, others: Sequence[str] = (), overwrite: bool = False) -> Iterator[Path]:
    """A folder to write into, whose content becomes that of `target` when the block ends, `index` last.

    Until then `target` is left as it is: an export that fails or is interrupted changes nothing. DataError where
    `target` holds anything but an earlier export (`index`, the cases that it records, files called as `others`), and,
    unless `overwrite` is true, StorageError where a file of that export has been changed since.
    """
    target = target.resolve()
    _refuse_foreign(target, index, others)
    refuse_foreign_files(target, _files(target), overwrite)
    new_target = not target.exists()
    partial = target / PARTIAL  # inside, for a folder beside it may lie on another disk
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        (target / index).unlink(missing_ok=True)  # no export until the new index is there
        for old in (Path(str(entry)) for entry in listing(target)):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        for new in sorted(partial.iterdir(), key=lambda path: path.name == index):
            new.replace(target / new.name)
        record_files(target, _files(target))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if new_target and not any(target.iterdir()):
            target.rmdir()


def write_pictures(manifest: Manifest, files: Sequence[tuple[Path, Path]], colour: bool) -> None:
    """Each sample's image and label map as 8-bit PNG at native size; `files` are the two paths, parallel to samples.

    Images are grey, or RGB with `colour`. Raises DataError naming every file that cannot be read, all at once.
    """
    problems: list[str] = []
    for folder in {path.parent for pair in files for path in pair}:
        folder.mkdir(parents=True, exist_ok=True)

    def write(job: tuple[Sample, tuple[Path, Path]]) -> None:
        sample, (image, labels) = job
        try:
            pixels = read_rgb(sample.image) if colour else read_grey(sample.image)
            regions = region_masks(sample, len(manifest.regions))
        except DataError as error:
            problems.append(str(error))
            return
        for path, content in ((image, pixels), (labels, encode(regions))):
            with replacing(path) as temporary:
                Image.fromarray(content).save(temporary, format="PNG")

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(write, zip(manifest.samples, files, strict=True)))
    if problems:
        raise DataError(
            f"{len(problems)} files of {manifest.name} cannot be exported. Mend or remove them:", sorted(problems)
        )


def dealt(manifest: Manifest, plan: FoldPlan | None) -> FoldPlan | None:
    """`plan`, verified against the pictures; None for an official one, which the samples themselves hold."""
    if not manifest.samples:
        raise DataError(f"There is nothing to export: {manifest.name} holds no sample.")
    if plan is None:
        return None
    verify_folds(plan, manifest)
    return None if plan.protocol == "official" else plan


def told_folds(manifest: Manifest, plan: FoldPlan | None) -> dict[str, int]:
    """The fold of each key: the plan's, else those that the data set comes with."""
    if plan is not None:
        return dict(plan.fold_of)
    return {sample.key: sample.fold for sample in manifest if sample.fold is not None}


def our_record(manifest: Manifest, names: dict[str, str], plan: FoldPlan | None) -> dict[str, Any]:
    """The entry of the index that only we read: the cases as they were, and how their folds were drawn."""
    folds = {} if plan is None else {"protocol": plan.protocol, "seed": plan.seed, "count": plan.count}
    return {**record(manifest, names), **({"folds": folds} if folds else {})}


def write_json(content: object, file: Path) -> None:
    """`content` as readable JSON."""
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _files(target: Path) -> list[str]:
    """The files of `target`, without hidden ones, relative to it."""
    files = (file.relative_to(target) for file in sorted(target.rglob("*")) if not file.is_dir())
    return [str(file) for file in files if not any(is_clutter(name) for name in file.parts)]


def _refuse_foreign(target: Path, index: str, others: Sequence[str]) -> None:
    """Raise DataError unless `target` is absent, empty, or holds an earlier export and nothing else."""
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
        raise DataError(f"{target} is not empty and holds no earlier export. {remedy}")
    own = {target / name for name in (index, *others)}
    for file in (target / name for name in _files(target)):
        if file in own:
            continue
        if file.stem.removesuffix("_0000") not in cases:
            raise DataError(f"{target} holds an earlier export, but {file} is none of it and would be lost. {remedy}")
