"""Any folder of images and masks: your own data, without a reader of its own."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import image_files, listing
from taichinet.datasets.sample import NORMAL_CLASS, Mask, Part, Sample
from taichinet.errors import DataError

LESION_CLASS = "lesion"
IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "mask", "labels")

_FURTHER_MASK = re.compile(r"(?P<image>.+)_mask(?:_(?P<number>[0-9]+))?")
_PARTS: dict[str, Part] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def _list_samples(reading: Reading) -> Manifest:
    """All samples: images/x.png with masks/x.png, x_mask.png, x_mask_1.png, ..., keys "x".

    The folders may also be called image, and mask or labels. The name of a subfolder is the class of its images and
    part of their keys, "benign-x" (images/benign/x.png, masks/benign/x.png), except that subfolders train, val and
    test are parts. Otherwise the class is "lesion", or "normal" if the mask is empty, so that masks are always decoded.
    An image without a mask is a fault, since its mask may have been lost. Images with empty masks are normal images.
    """
    folder, problems = reading.folder, reading.problems
    images = _only(folder, IMAGE_FOLDERS, problems)
    masks = _only(folder, MASK_FOLDERS, problems)
    samples = _samples(images, masks, problems)
    for name in sorted({entry.name for top in (images, masks) for entry in listing(top) if entry.is_dir()}):
        part = _PARTS.get(name.lower())
        samples += [
            replace(sample, key=f"{name}-{sample.key}", label=sample.label if part else name, part=part)
            for sample in _samples(images / name, masks / name, problems)
        ]
    times = Counter(sample.key for sample in samples)
    problems += [f"{s.image}: its key '{s.key}' is not unique. Rename one." for s in samples if times[s.key] > 1]
    requested = _label_normal(samples, reading)
    return Manifest("folder", tuple(requested), normal_left_out=len(samples) - len(requested))


def _present(folder: Traversable, names: Sequence[str]) -> list[Traversable]:
    """Those of `names` that are folders in `folder`."""
    return [entry for entry in listing(folder) if entry.name in names and entry.is_dir()]


def _only(folder: Traversable, names: Sequence[str], problems: list[str]) -> Traversable:
    """The one of `names` that is in `folder`; `problems` receives a line for a second one, which is not read."""
    first, *others = _present(folder, names)
    problems += [f"{other}: {first.name} exists too. Keep one of them." for other in others]
    return first


def _samples(images: Traversable, masks: Traversable, problems: list[str]) -> list[Sample]:
    """The images directly in `images` with all their masks directly in `masks`, by name."""
    files = image_files(images, problems)
    masks_of = _masks_by_image(image_files(masks, problems), files)
    problems += [
        f"{image}: has no mask '{stem}' or '{stem}_mask' in {masks}. Give an image without a lesion an empty mask."
        for stem, image in files.items()
        if stem not in masks_of
    ]
    problems += [
        f"{mask.file}: has no image '{stem}' in {images}."
        for stem, orphans in masks_of.items()
        if stem not in files
        for mask in orphans
    ]
    return [Sample(stem, LESION_CLASS, image, masks_of[stem]) for stem, image in files.items() if stem in masks_of]


def _masks_by_image(masks: Mapping[str, Traversable], images: Mapping[str, Traversable]) -> dict[str, tuple[Mask, ...]]:
    """The masks of each image in order: x, x_mask, x_mask_1, ...; a mask with the full name of an image is its own."""
    numbered: dict[str, list[tuple[int, str, Traversable]]] = defaultdict(list)
    for stem, file in masks.items():
        match = _FURTHER_MASK.fullmatch(stem)
        if match is None or stem in images:
            numbered[stem].append((-1, stem, file))
        else:
            numbered[match["image"]].append((int(match["number"] or 0), stem, file))
    return {
        stem: tuple(Mask(file) for _, _, file in sorted(files, key=lambda entry: entry[:2]))
        for stem, files in numbered.items()
    }


def _label_normal(samples: Sequence[Sample], reading: Reading) -> list[Sample]:
    """Label samples with empty masks as normal, unless a subfolder gives their class, or leave them out."""

    def has_lesion(sample: Sample) -> bool:
        try:
            return any(reading.files.mask(mask).any() for mask in sample.masks)
        except DataError:  # reported when the files are verified
            return True

    with ThreadPoolExecutor(max_workers=2) as pool:
        lesions = list(pool.map(has_lesion, samples))
    return [
        replace(sample, label=NORMAL_CLASS) if not lesion and sample.label == LESION_CLASS else sample
        for sample, lesion in zip(samples, lesions, strict=True)
        if lesion or reading.include_normal
    ]


DATASET = Dataset(
    name="folder",
    title="Any folder of images and masks",
    list_samples=_list_samples,
    recognises=lambda folder: all(_present(folder, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS)),
    layout="images/x.png and masks/x.png (or x_mask.png) in it",
    licence="that of your images",
    source="your own folder",
    citation="none; cite the source of your images",
    has_normal=True,
    fallback=True,
)
