"""The raw format of nnU-Net: imagesTr, labelsTr, dataset.json, for 2D images such as PNG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources.abc import Traversable
from typing import Any

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.interchange.cases import Case, read_index, recorded_cases, repeated_keys
from taichinet.datasets.interchange.label_map import LabelScheme, checked_samples, read_scheme
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import holds_folders, listing, natural_order
from taichinet.datasets.sample import Part, Sample
from taichinet.errors import DataError
from taichinet.storage.documents import read_json

INDEX = "dataset.json"
SPLITS = "splits_final.json"
ENDINGS = (".png", ".bmp", ".tif")

_IMAGE_NAME = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})")


def _list_samples(reading: Reading) -> Manifest:
    """All labelled cases of an nnU-Net v2 data set: imagesTr/CASE_0000.png, labelsTr/CASE.png, keys CASE.

    One file per image, grey or RGB (all channels in one file, as in nnU-Net's NaturalImage2DIO). The regions are the
    `labels` of dataset.json, which must be nested. Cases of imagesTs are the part "test" if labelsTs has their label
    maps, otherwise they are left out. Folds are those of splits_final.json if each case of imagesTr is validated once.
    What an export of this package recorded (keys, classes, patients, parts) is restored; other cases have the class
    "lesion". Images with empty label maps are normal images.

    Source: documentation/dataset_format.md of nnU-Net v2.
    """
    folder, problems = reading.folder, reading.problems
    index = read_index(folder / INDEX)
    ending = _ending(index, folder / INDEX)
    scheme = read_scheme(index.get("labels"), folder / INDEX)
    known = recorded_cases(index, folder / INDEX)
    left_out: list[str] = []
    train = _labelled_cases(reading, "train", ending, scheme, known, left_out)
    test = _labelled_cases(reading, "test", ending, scheme, known, left_out)
    problems += [
        f"{test[case].image}: imagesTr has a case of the same name. Rename one." for case in test if case in train
    ]
    samples_by_case = test | train
    _check_count(index, folder, samples_by_case, known, problems)
    folds = _folds(folder / SPLITS, set(train))
    order = [case for case in known if case in samples_by_case]
    order += sorted(samples_by_case.keys() - known.keys(), key=natural_order)
    samples = [replace(samples_by_case[case], fold=folds.get(case)) for case in order]
    problems += repeated_keys(samples, folder / INDEX)
    requested = checked_samples(samples, scheme.values, reading)
    return Manifest(
        "nnunet", tuple(requested), scheme.names, tuple(left_out), normal_left_out=len(samples) - len(requested)
    )


def _ending(index: Mapping[str, Any], source: Traversable) -> str:
    """The ending of the files; raises DataError for volumes and for data sets that list their files."""
    if "dataset" in index:
        raise DataError(
            f"{source}: lists its files under 'dataset', which is not supported. Copy them to imagesTr and labelsTr, "
            "and remove the entry."
        )
    ending = index.get("file_ending")
    if ending not in ENDINGS:
        raise DataError(
            f"{source}: 'file_ending' is {ending!r}, but only 2D images ({', '.join(ENDINGS)}) are supported. "
            "Save volumes slice by slice as PNG, both images and label maps."
        )
    return str(ending)


def _labelled_cases(
    reading: Reading, part: Part, ending: str, scheme: LabelScheme, known: Mapping[str, Case], left_out: list[str]
) -> dict[str, Sample]:
    """The labelled samples of a part by case, without folds; `left_out` receives test images without a label map."""
    end = "Ts" if part == "test" else "Tr"
    labels, problems = reading.folder / f"labels{end}", reading.problems
    maps = dict(_stems(labels, ending))
    cases: dict[str, Sample] = {}
    for stem, file in _stems(reading.folder / f"images{end}", ending):
        match = _IMAGE_NAME.fullmatch(stem)
        if match is None:
            problems.append(f"{file}: must be named CASE_0000{ending}. Rename it, or move it elsewhere.")
        elif match["channel"] != "0000":
            problems.append(
                f"{file}: is a further channel, but each image must be one file, grey or RGB. Merge the channels into "
                "one RGB file, or keep only _0000."
            )
        elif match["case"] in maps:
            name = match["case"]
            case = known.get(name) or Case(name, "lesion", part=part)
            cases[name] = Sample(case.key, case.label, file, scheme.masks(maps[name]), case.patient, case.part)
        elif part == "test":
            left_out.append(f"{file}: has no label map in labelsTs.")
        else:
            problems.append(f"{file}: has no label map '{match['case']}{ending}' in {labels}.")
    problems += [f"{file}: has no image '{name}_0000{ending}'." for name, file in maps.items() if name not in cases]
    return cases


def _stems(folder: Traversable, ending: str) -> list[tuple[str, Traversable]]:
    """The files of `folder` with this ending, as nnU-Net selects them; all others are ignored."""
    return [(f.name.removesuffix(ending), f) for f in listing(folder) if f.name.endswith(ending) and f.is_file()]


def _check_count(
    index: Mapping[str, Any],
    folder: Traversable,
    cases: Mapping[str, Sample],
    known: Mapping[str, Case],
    problems: list[str],
) -> None:
    """Report cases of which both the image and the label map are missing, which only dataset.json shows."""
    problems += [f"{folder / INDEX}: its case '{case}' is missing." for case in known if case not in cases]
    expected = index.get("numTraining")
    count = sum(1 for _ in _stems(folder / "labelsTr", str(index["file_ending"])))
    if isinstance(expected, int) and expected != count:
        problems.append(f"{folder / INDEX}: 'numTraining' is {expected}, but labelsTr has {count}. Correct it.")


def _folds(file: Traversable, cases: set[str]) -> dict[str, int]:
    """The fold in which each case is validated; empty unless each case is validated exactly once."""
    if not file.is_file():
        return {}
    splits = read_json(file, remedy="It must be a list of {'train': [...], 'val': [...]}. Correct or remove it.")
    try:
        validated = [(str(case), fold) for fold, split in enumerate(splits) for case in split["val"]]
    except (TypeError, KeyError) as fault:
        raise DataError(
            f"{file}: must be a list of {{'train': [...], 'val': [...]}} ({fault!r}). Correct or remove it."
        ) from fault
    folds = dict(validated)
    return folds if len(validated) == len(folds) and cases <= folds.keys() else {}


DATASET = Dataset(
    name="nnunet",
    title="nnU-Net raw format",
    list_samples=_list_samples,
    recognises=lambda folder: holds_folders(folder, "imagesTr", "labelsTr") and (folder / INDEX).is_file(),
    layout="imagesTr, labelsTr and dataset.json in it (DatasetNNN_NAME)",
    licence="that of the converted data set",
    source="your own folder DatasetNNN_NAME, e.g. from `taichinet data export`",
    citation=(
        "Isensee, Jaeger, Kohl, Petersen, Maier-Hein: nnU-Net: a self-configuring method for deep learning-based "
        "biomedical image segmentation. Nature Methods 18, 203-211, 2021, https://doi.org/10.1038/s41592-020-01008-z"
    ),
    has_normal=True,
)
