"""nnU-Net's raw format: imagesTr, labelsTr, dataset.json, for flat images such as PNG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.interchange.cases import Case, read_index, recorded_cases, repeated_keys
from taichinet.datasets.interchange.label_map import LabelScheme, checked_samples, read_scheme
from taichinet.datasets.manifest import Manifest, Part, Sample
from taichinet.datasets.readers.layout import find_folder, listing, natural_order, open_top, verified
from taichinet.errors import DataError
from taichinet.storage.documents import read_json

NAME = "nnunet"
LABEL = "lesion"
INDEX = "dataset.json"
SPLITS = "splits_final.json"
ENDINGS = (".png", ".bmp", ".tif")
FOLDERS: tuple[tuple[Part, str, str], ...] = (("train", "imagesTr", "labelsTr"), ("test", "imagesTs", "labelsTs"))

_REMEDY = (
    "Pass the folder DatasetNNN_NAME with imagesTr, labelsTr and dataset.json in it, or its zip (see docs/data.md)."
)
_IMAGE_NAME = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})")


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds imagesTr/, labelsTr/ and dataset.json."""
    return (folder / "imagesTr").is_dir() and (folder / "labelsTr").is_dir() and (folder / INDEX).is_file()


def read_nnunet(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All labelled cases of an nnU-Net v2 data set under `root`: imagesTr/CASE_0000.png, labelsTr/CASE.png, keys CASE.

    One file an image, grey or RGB (whose three channels lie in the one file, as in nnU-Net's NaturalImage2DIO). The
    regions are dataset.json's `labels`, which must lie in each other. Cases of imagesTs are the part "test" where
    labelsTs has their label maps, else they are left out. Folds are those of splits_final.json where each case of
    imagesTr is validated once. What an export of ours recorded (keys, classes, patients, parts) is restored; other
    cases have the class "lesion". `include_normal=False` leaves out images whose label map is empty.

    Source: documentation/dataset_format.md of nnU-Net v2.
    """
    folder = find_folder(open_top(root, _REMEDY), (), recognises)
    if folder is None:
        raise DataError(f"{root} holds no nnU-Net data set: no folder has imagesTr, labelsTr and {INDEX}. {_REMEDY}")
    index = read_index(folder / INDEX)
    ending = _ending(index, folder / INDEX)
    scheme = read_scheme(index.get("labels"), folder / INDEX)
    known = recorded_cases(index, folder / INDEX)
    problems: list[str] = []
    left_out: list[str] = []
    train, test = (
        _cases(folder / images, folder / labels, ending, part, scheme, known, problems, left_out)
        for part, images, labels in FOLDERS
    )
    problems += [
        f"{test[case].image}: a case of this name is in imagesTr, too. Rename one." for case in test if case in train
    ]
    found = test | train
    _check_count(index, folder, found, known, problems)
    folds = _folds(folder / SPLITS, set(train))
    order = [case for case in known if case in found]
    order += sorted(found.keys() - known.keys(), key=natural_order)
    samples = [
        Sample(s.key, s.label, s.image, s.masks, s.patient, s.part, folds.get(case))
        for case, s in ((case, found[case]) for case in order)
    ]
    problems += repeated_keys(samples, folder / INDEX)
    kept = checked_samples(samples, scheme.values, include_normal, verify, problems)
    whole = verified("nnU-Net data set", root, kept, problems, _REMEDY, verify)
    return Manifest(NAME, whole, scheme.names, tuple(left_out), len(samples) - len(kept))


def _ending(index: Mapping[str, Any], source: Traversable) -> str:
    """The files' ending; DataError for volumes and for data sets that list their files."""
    if "dataset" in index:
        raise DataError(
            f"{source}: lists its files under 'dataset'; only those in imagesTr and labelsTr are read. Copy them "
            "there, and remove the entry."
        )
    ending = index.get("file_ending")
    if ending not in ENDINGS:
        raise DataError(
            f"{source}: 'file_ending' is {ending!r}, but only flat images ({', '.join(ENDINGS)}) are read. Save "
            "volumes slice by slice as PNG, images and label maps alike."
        )
    return str(ending)


def _cases(
    images: Traversable,
    labels: Traversable,
    ending: str,
    part: Part,
    scheme: LabelScheme,
    known: Mapping[str, Case],
    problems: list[str],
    left_out: list[str],
) -> dict[str, Sample]:
    """The labelled cases of one pair of folders by name, without folds; what does not fit goes to `problems`."""
    maps = dict(_stems(labels, ending))
    cases: dict[str, Sample] = {}
    for stem, file in _stems(images, ending):
        match = _IMAGE_NAME.fullmatch(stem)
        if match is None:
            problems.append(f"{file}: must be named CASE_0000{ending}. Rename it, or move it elsewhere.")
        elif match["channel"] != "0000":
            problems.append(
                f"{file}: is a further channel; one file an image is read, grey or RGB. Join the channels in one RGB "
                "file, or keep only _0000."
            )
        elif match["case"] in maps:
            name = match["case"]
            case = known.get(name) or Case(name, LABEL, part=part)
            cases[name] = Sample(case.key, case.label, file, scheme.masks(maps[name]), case.patient, case.part)
        elif part == "test":
            left_out.append(f"{file}: has no label map in labelsTs.")
        else:
            problems.append(f"{file}: has no label map '{match['case']}{ending}' in {labels}.")
    problems += [f"{file}: has no image '{name}_0000{ending}'." for name, file in maps.items() if name not in cases]
    return cases


def _stems(folder: Traversable, ending: str) -> list[tuple[str, Traversable]]:
    """The files of `folder` with this ending, as nnU-Net picks them; all others are passed over."""
    return [(f.name.removesuffix(ending), f) for f in listing(folder) if f.name.endswith(ending) and f.is_file()]


def _check_count(
    index: Mapping[str, Any],
    folder: Traversable,
    found: Mapping[str, Sample],
    known: Mapping[str, Case],
    problems: list[str],
) -> None:
    """A case whose image and label map are both gone leaves no trace but in dataset.json."""
    problems += [f"{folder / INDEX}: its case '{case}' is not here." for case in known if case not in found]
    promised = index.get("numTraining")
    here = sum(1 for _ in _stems(folder / "labelsTr", str(index["file_ending"])))
    if isinstance(promised, int) and promised != here:
        problems.append(f"{folder / INDEX}: 'numTraining' is {promised}, but labelsTr has {here}. Correct it.")


def _folds(file: Traversable, cases: set[str]) -> dict[str, int]:
    """The fold in which each case is validated; empty unless every case is, once: then it is no cross-validation."""
    if not file.is_file():
        return {}
    splits = read_json(file, remedy="It must be a list of {'train': [...], 'val': [...]}. Correct or remove it.")
    try:
        validated = [(str(case), fold) for fold, split in enumerate(splits) for case in split["val"]]
    except (TypeError, KeyError) as fault:
        raise DataError(
            f"{file}: must be a list of {{'train': [...], 'val': [...]}} ({fault!r}). Mend or remove it."
        ) from fault
    folds = dict(validated)
    return folds if len(validated) == len(folds) and cases <= folds.keys() else {}


DATASET = Dataset(
    name=NAME,
    title="nnU-Net raw format",
    read=read_nnunet,
    recognises=recognises,
    licence="that of the data set in it",
    source="your own folder DatasetNNN_NAME, e.g. from `taichinet data export`",
    citation=(
        "Isensee, Jaeger, Kohl, Petersen, Maier-Hein: nnU-Net: a self-configuring method for deep learning-based "
        "biomedical image segmentation. Nature Methods 18, 203-211, 2021, https://doi.org/10.1038/s41592-020-01008-z"
    ),
    has_normal=True,
)
