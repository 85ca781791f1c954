"""TN3K, thyroid nodules, with its authors' test part and five folds of the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import Manifest, Part, Sample
from taichinet.datasets.readers.layout import find_folder, holds_folders, open_top, paired_samples, verified
from taichinet.datasets.readers.tables import image_key
from taichinet.errors import DataError
from taichinet.storage.documents import read_json

NAME = "tn3k"
LABEL = "nodule"
FOLDERS = ("tn3k", "TN3K", "Thyroid Dataset/tn3k")
PARTS: dict[str, Part] = {"trainval": "train", "test": "test"}
FOLDS = 5

_REMEDY = "Pass the folder with trainval-image, trainval-mask, test-image and test-mask in it, or its zip."


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds the images and masks of at least one part."""
    return any(holds_folders(folder, f"{part}-image", f"{part}-mask") for part in PARTS)


def read_tn3k(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of TN3K under `root`: trainval-image/0000.jpg, trainval-mask/0000.jpg, and so for test.

    Both parts count from 0000, so keys are "trainval-0000" and "test-0000". The fold of a trainval image is the one
    whose tn3k-trainval-foldK.json names it under "val", where those files are there. Its authors look the numbers up
    in the sorted list of files, which for a whole copy is the number in the name. Names do not tell patients; tables
    of classes that others added are passed over. There are no normal images: `include_normal` changes nothing.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no TN3K: no folders trainval-image and trainval-mask are in it. {_REMEDY}")
    problems: list[str] = []
    samples: list[Sample] = []
    for name, part in PARTS.items():
        images, masks = folder / f"{name}-image", folder / f"{name}-mask"
        missing = [at for at in (images, masks) if not at.is_dir()]
        problems += [f"{at}: this folder is missing." for at in missing]
        if not missing:
            found = paired_samples(images, masks, LABEL, problems)
            fold_of = _folds(folder, (s.key for s in found), problems) if part == "train" else {}
            samples += [replace(s, key=f"{name}-{s.key}", part=part, fold=fold_of.get(s.key)) for s in found]
    return Manifest(NAME, verified("TN3K", root, samples, problems, _REMEDY, verify))


def _folds(folder: Traversable, stems: Iterable[str], problems: list[str]) -> dict[str, int]:
    """The fold in which each image of `stems` is validated, as far as fold files are there."""
    stem_of = {image_key(stem): stem for stem in stems}
    fold_of: dict[str, int] = {}
    for fold in range(FOLDS):
        file = folder / f"tn3k-trainval-fold{fold}.json"
        if not file.is_file():
            continue
        try:
            numbers = list(read_json(file)["val"])
        except (DataError, KeyError, TypeError) as fault:
            problems.append(f"{file}: has no list 'val' of image numbers ({fault!r}); copy it again from the original.")
            continue
        for number in numbers:
            stem = stem_of.get(image_key(str(number)))
            if stem is None:
                problems.append(f"{file}: image {number} of list 'val' is not in trainval-image.")
            elif fold_of.setdefault(stem, fold) != fold:
                problems.append(f"{file}: image {number} of list 'val' is in that of fold {fold_of[stem]} too.")
    return fold_of


DATASET = Dataset(
    name=NAME,
    title="TN3K",
    read=read_tn3k,
    recognises=recognises,
    licence="not stated for the pictures (its authors' code is under the MIT licence)",
    source="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
    citation=(
        "Gong, Chen, Wang, Xie, Mao, Yu, Chen, Li: Multi-task learning for thyroid nodule segmentation with thyroid "
        "region prior. ISBI 2021, 257-261, https://doi.org/10.1109/ISBI48211.2021.9434087"
    ),
    folders=FOLDERS,
    images=3493,
)
