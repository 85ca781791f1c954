"""TN3K, thyroid nodules, with the test set and the five folds of its authors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import holds_folders, paired_samples
from taichinet.datasets.readers.tables import image_key
from taichinet.datasets.sample import Part, Sample
from taichinet.errors import DataError
from taichinet.storage.documents import read_json

PARTS: dict[str, Part] = {"trainval": "train", "test": "test"}
FOLDS = 5


def _list_samples(reading: Reading) -> Manifest:
    """All samples: trainval-image/0000.jpg, trainval-mask/0000.jpg, and so on for test.

    Both parts count from 0000, so keys are "trainval-0000" and "test-0000". The fold of a trainval image is the one
    whose tn3k-trainval-foldK.json lists it under "val", if those files exist. Its authors look up the numbers in the
    sorted list of files, which for a complete copy is the number in the name. Names do not identify patients; tables
    of classes that others added are ignored.
    """
    folder, problems = reading.folder, reading.problems
    samples: list[Sample] = []
    for name, part in PARTS.items():
        images, masks = folder / f"{name}-image", folder / f"{name}-mask"
        missing = [place for place in (images, masks) if not place.is_dir()]
        problems += [f"{place}: this folder is missing." for place in missing]
        if not missing:
            pairs = paired_samples(images, masks, "nodule", problems)
            fold_of = _folds(folder, (s.key for s in pairs), problems) if part == "train" else {}
            samples += [replace(s, key=f"{name}-{s.key}", part=part, fold=fold_of.get(s.key)) for s in pairs]
    return Manifest("tn3k", tuple(samples))


def _folds(folder: Traversable, stems: Iterable[str], problems: list[str]) -> dict[str, int]:
    """The fold in which each image of `stems` is validated, if the files of the folds exist."""
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
                problems.append(f"{file}: image {number} of list 'val' is also in that of fold {fold_of[stem]}.")
    return fold_of


DATASET = Dataset(
    name="tn3k",
    title="TN3K",
    list_samples=_list_samples,
    recognises=lambda folder: any(holds_folders(folder, f"{part}-image", f"{part}-mask") for part in PARTS),
    layout="trainval-image, trainval-mask, test-image and test-mask in it",
    licence="not stated for the images (its authors' code is under the MIT licence)",
    source="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
    organ="thyroid",
    citation=(
        "Gong, Chen, Wang, Xie, Mao, Yu, Chen, Li: Multi-task learning for thyroid nodule segmentation with thyroid "
        "region prior. ISBI 2021, 257-261, https://doi.org/10.1109/ISBI48211.2021.9434087"
    ),
    folders=("tn3k", "TN3K", "Thyroid Dataset/tn3k"),
    images=3493,
)
