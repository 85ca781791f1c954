"""A user's own folder of images and masks, without a reader of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import image_files
from taichinet.datasets.readers.own_layout import EXPECTED, MASK_NAME, Place, find_places
from taichinet.datasets.readers.own_regions import LESION, Regions, read_regions
from taichinet.datasets.readers.own_table import table_of, table_samples, tables_in
from taichinet.datasets.sample import NORMAL_CLASS, Mask, Sample
from taichinet.errors import DataError

LESION_CLASS = LESION


def _list_samples(reading: Reading) -> Manifest:
    """All samples: images/x.png with masks/x.png, x_mask.png, x_mask_1.png, ..., keys "x".

    `own_layout.py` has the other names and layouts, `own_table.py` the table that is read instead if there is one. The
    name of a class folder is the class of its images and part of their keys, "benign-x" (images/benign/x.png,
    masks/benign/x.png), and so is that of train, val and test, which are parts. Without a class folder the class is
    "lesion", or "normal" if the mask is empty, so that masks are always decoded. An image without a mask is a fault,
    since its mask may have been lost. Images with empty masks are normal images.
    """
    problems, regions = reading.problems, Regions()
    table = table_of(reading)
    if table is not None:
        samples = table_samples(table, reading, LESION_CLASS)
    else:
        places = find_places(reading.folder, problems)
        regions = read_regions(reading.folder, max(len(place.masks) for place in places))
        samples = [sample for place in places for sample in _samples(place, regions, problems)]
    times = Counter(sample.key for sample in samples)
    problems += [f"{s.image}: its key '{s.key}' is not unique. Rename one." for s in samples if times[s.key] > 1]
    requested = _label_normal(samples, reading)
    left_out = len(samples) - len(requested)
    return Manifest("folder", tuple(requested), regions.names, normal_left_out=left_out, nested=regions.nested)


def _samples(place: Place, regions: Regions, problems: list[str]) -> list[Sample]:
    """The images of a place with all their masks, by name."""
    images = image_files(place.images, problems)
    if place.together:
        images, masks = _divided(images, problems)
        found = [_masks_by_image(masks, images, problems)]
    else:
        found = [_masks_by_image(image_files(masks, problems), images, problems) for masks in place.masks]
    if len(found) < len(regions.names):
        problems.append(f"{place.masks[0]}: the masks of {len(regions.names)} regions are needed. Add their folders.")
    needed = [set().union(*found)] if regions.united else [set(masks) for masks in found]
    for stem, image in images.items():
        problems += [
            f"{image}: has no mask '{stem}' or '{stem}_mask' in {folder}. Give an image without a lesion an empty mask."
            for folder, present in zip(place.masks, needed, strict=False)
            if stem not in present
        ]
    problems += [
        f"{file}: has no image '{stem}' in {place.images}."
        for masks_of in found
        for stem, orphans in masks_of.items()
        if stem not in images
        for file in orphans
    ]
    return [
        Sample(
            key="-".join((*place.names, stem)),
            label=place.label or LESION_CLASS,
            image=image,
            masks=tuple(
                Mask(file, regions.region_of(n)) for n, masks in enumerate(found) for file in masks.get(stem, ())
            ),
            part=place.part,
        )
        for stem, image in images.items()
        if all(stem in present for present in needed)
    ]


def _divided(
    files: Mapping[str, Traversable], problems: list[str]
) -> tuple[dict[str, Traversable], dict[str, Traversable]]:
    """The images and the masks of a folder that contains both; a mask has a suffix, and its image or no mask itself."""
    image_of = {stem: match["image"] for stem in files if (match := MASK_NAME.fullmatch(stem)) is not None}
    with_mask = set(image_of.values())
    problems += [
        f"{files[stem]}: may be the mask of '{image}', or the image of '{stem}_mask'. Rename it."
        for stem, image in image_of.items()
        if image in files and stem in with_mask
    ]
    masks = {stem: file for stem, file in files.items() if stem in image_of and stem not in with_mask}
    return {stem: file for stem, file in files.items() if stem not in masks}, masks


def _masks_by_image(
    masks: Mapping[str, Traversable], images: Mapping[str, Traversable], problems: list[str]
) -> dict[str, tuple[Traversable, ...]]:
    """The masks of each image in order: x, x_mask, x_mask_1, ...; a mask with the full name of an image is its own.

    `problems` receives a line for each image whose masks have several suffixes, as they may be of several annotators.
    """
    numbered: dict[str, list[tuple[int, str, Traversable]]] = defaultdict(list)
    suffixes: dict[str, set[str]] = defaultdict(set)
    for stem, file in masks.items():
        match = MASK_NAME.fullmatch(stem)
        if match is None or stem in images:
            numbered[stem].append((-1, stem, file))
        else:
            numbered[match["image"]].append((int(match["number"] or 0), stem, file))
            suffixes[match["image"]].add(match["suffix"].lower())
    problems += [
        f"{numbered[stem][0][2]}: image '{stem}' has masks with the suffixes {' and '.join(sorted(several))}. Keep one "
        "suffix; several masks of one image are x_mask.png, x_mask_1.png, ..."
        for stem, several in suffixes.items()
        if len(several) > 1
    ]
    return {
        stem: tuple(file for _, _, file in sorted(files, key=lambda entry: entry[:2]))
        for stem, files in numbered.items()
    }


def _label_normal(samples: Sequence[Sample], reading: Reading) -> list[Sample]:
    """Label samples with empty masks as normal, unless their class is given, or leave them out."""

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
    title="Own folder",
    list_samples=_list_samples,
    recognises=lambda folder: bool(tables_in(folder) or find_places(folder, [])),
    layout="images/x.png and masks/x.png (or x_mask.png), x.png and x_mask.png, or a .csv of both in it",
    licence="that of your images",
    source="your own folder",
    citation="none; cite the source of your images",
    has_normal=True,
    fallback=True,
    index_endings=(".csv",),
    own=True,
    expected=EXPECTED,
)
