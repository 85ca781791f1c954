"""Any plain folder of images and masks: data of your own, without a reader of its own."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.image_io import read_mask
from taichinet.datasets.manifest import NORMAL_CLASS, Manifest, Mask, Part, Sample
from taichinet.datasets.readers.layout import find_folder, image_files, listing, open_top, verified
from taichinet.errors import DataError

NAME = "folder"
LESION_CLASS = "lesion"
IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "mask", "labels")

_REMEDY = "Pass a folder with images/x.png and masks/x.png (or x_mask.png) in it, or its zip (see docs/data.md)."
_FURTHER_MASK = re.compile(r"(?P<image>.+)_mask(?:_(?P<number>[0-9]+))?")
_PARTS: dict[str, Part] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds a folder of images and one of masks."""
    return all(_present(folder, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))


def read_folder(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of a plain folder: images/x.png with masks/x.png, x_mask.png, x_mask_1.png, ..., keys "x".

    The folders may be called image, and mask or labels, too. Images in a subfolder have its name for their class, and
    "benign-x" for a key (images/benign/x.png, masks/benign/x.png); subfolders train, val and test are parts instead.
    Elsewhere the class is "lesion", or "normal" where the mask is empty. An image without a mask is a fault, for
    nobody could tell it from one whose mask was lost. `include_normal=False` leaves out all with an empty mask; so
    masks are decoded whatever `verify` says.
    """
    folder = find_folder(open_top(root, _REMEDY), (), recognises)
    if folder is None:
        raise DataError(f"{root} holds no folder of images and one of masks. {_REMEDY}")
    problems: list[str] = []
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
    problems += [f"{s.image}: its key '{s.key}' is another's too. Rename one." for s in samples if times[s.key] > 1]
    kept = _told_normal(samples, include_normal)
    whole = verified("folder of images and masks", root, kept, problems, _REMEDY, verify)
    return Manifest(NAME, whole, normal_left_out=len(samples) - len(kept))


def _present(folder: Traversable, names: Sequence[str]) -> list[Traversable]:
    """Those of `names` that are folders in `folder`."""
    return [entry for entry in listing(folder) if entry.name in names and entry.is_dir()]


def _only(folder: Traversable, names: Sequence[str], problems: list[str]) -> Traversable:
    """The one of `names` that is in `folder`; `problems` names a second, which would be passed over in silence."""
    first, *others = _present(folder, names)
    problems += [f"{other}: {first.name} is there too. Keep one of them." for other in others]
    return first


def _samples(images: Traversable, masks: Traversable, problems: list[str]) -> list[Sample]:
    """The images directly in `images` with all their masks directly in `masks`, by name."""
    found = image_files(images, problems)
    masks_of = _masks_by_image(image_files(masks, problems), found)
    problems += [
        f"{image}: has no mask '{stem}' or '{stem}_mask' in {masks}. Give an image without a lesion an empty mask."
        for stem, image in found.items()
        if stem not in masks_of
    ]
    problems += [
        f"{mask.file}: has no image '{stem}' in {images}."
        for stem, orphans in masks_of.items()
        if stem not in found
        for mask in orphans
    ]
    return [Sample(stem, LESION_CLASS, image, masks_of[stem]) for stem, image in found.items() if stem in masks_of]


def _masks_by_image(masks: Mapping[str, Traversable], images: Mapping[str, Traversable]) -> dict[str, tuple[Mask, ...]]:
    """The masks of each image's name in order: x, x_mask, x_mask_1, ...; a name that is an image's stays whole."""
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


def _told_normal(samples: Sequence[Sample], include_normal: bool) -> list[Sample]:
    """`samples` where those without a lesion are called normal, unless a subfolder names their class, or left out."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        painted = list(pool.map(_is_painted, samples))
    return [
        replace(sample, label=NORMAL_CLASS) if not lesion and sample.label == LESION_CLASS else sample
        for sample, lesion in zip(samples, painted, strict=True)
        if lesion or include_normal
    ]


def _is_painted(sample: Sample) -> bool:
    """Whether any mask has a pixel painted; one that cannot be read counts, so that its fault is told elsewhere."""
    try:
        return any(read_mask(mask.file, mask.rule).any() for mask in sample.masks)
    except DataError:
        return True


DATASET = Dataset(
    name=NAME,
    title="Any folder of images and masks",
    read=read_folder,
    recognises=recognises,
    licence="that of your own images",
    source="your own folder",
    citation="none; cite those from whom your images come",
    has_normal=True,
    fallback=True,
)
