"""REFUGE, optic disc and cup in fundus photographs: 400 to train, 400 to validate, 400 to test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import FUNDUS, Dataset
from taichinet.datasets.manifest import Manifest, Mask, MaskRule, Part, Sample
from taichinet.datasets.readers.layout import find_folder, image_files, listing, open_top, pair_by_stem, verified
from taichinet.errors import DataError

NAME = "refuge"
LABEL = "fundus"
REGIONS = ("disc", "cup")
FOLDERS = ("REFUGE", "Refuge", "refuge", "REFUGE2")
RULES = (MaskRule(0, 191), MaskRule(0, 63))
"""Disc and cup of a mask: 0 is the cup, 128 the rim of the disc, 255 neither. Limits lie halfway between these."""

_REMEDY = "Pass the folder with Training400 and Annotation-Training400 in it (and the other parts), or its zip."
_CLASSES = {"glaucoma": "glaucoma", "g": "glaucoma", "non-glaucoma": "non-glaucoma", "n": "non-glaucoma"}


@dataclass(frozen=True)
class _Names:
    """Under which names, in lower case, the folders of one part's images and masks are found."""

    images: tuple[str, ...]
    masks: tuple[str, ...]


@dataclass(frozen=True)
class _Picture:
    """An image or a mask, and the class of the folder that it lies in, where that is one's name."""

    file: Traversable
    label: str | None


_PARTS: dict[Part, _Names] = {
    "train": _Names(("training400", "refuge-training400"), ("annotation-training400",)),
    "validation": _Names(("validation400", "refuge-validation400"), ("validation400-gt", "refuge-validation400-gt")),
    "test": _Names(("test400", "refuge-test400"), ("test-gt", "refuge-test-gt", "test400-gt", "refuge-test400-gt")),
}
# Folders between a part's and its pictures. Any other is passed over: Training400/AMD has no masks of disc and cup.
_BETWEEN = {"images", "disc_cup_masks", *(name for part in _PARTS.values() for name in (*part.images, *part.masks))}


def recognises(folder: Traversable) -> bool:
    """Whether the images of at least one part are in `folder`, or one level further in."""
    return any(_find(folder, part.images) is not None for part in _PARTS.values())


def read_refuge(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of REFUGE under `root`: training, validation, test; keys "g0001", "V0001", "T0001".

    Images are Training400/{Glaucoma,Non-Glaucoma}/*.jpg, REFUGE-Validation400/*.jpg and Test400/*.jpg, masks *.bmp in
    Disc_Cup_Masks of Annotation-Training400/, REFUGE-Validation400-GT/ and REFUGE-Test-GT/; each zip may have been
    unpacked into a folder of its own. One mask paints both regions (see `RULES`). The class is the name of the
    folder of the image or of its mask (G and N in the test part), and "fundus" where that says nothing, as in the
    validation part. A part that is not there is passed over; images without masks are a fault. `include_normal`
    changes nothing, and names do not identify patients.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no REFUGE: no folder Training400 is in it, nor that of another part. {_REMEDY}")
    problems: list[str] = []
    samples: dict[str, Sample] = {}
    for part in _PARTS:
        for sample in _samples(folder, part, problems):
            if sample.key in samples:
                problems.append(f"{sample.image}: {samples[sample.key].image} has the same name. Keep one of them.")
            samples.setdefault(sample.key, sample)
    return Manifest(NAME, verified("REFUGE", root, tuple(samples.values()), problems, _REMEDY, verify), REGIONS)


def _find(folder: Traversable, names: tuple[str, ...]) -> Traversable | None:
    """The folder of one of `names` in `folder` or in a folder there; the outer one goes first."""
    level = [entry for entry in listing(folder) if entry.is_dir()]
    level += [entry for outer in level for entry in listing(outer) if entry.is_dir()]
    return next((entry for entry in level if entry.name.lower() in names), None)


def _samples(folder: Traversable, part: Part, problems: list[str]) -> Iterator[Sample]:
    """The samples of one part, by class where folders give it, then by number."""
    names = _PARTS[part]
    image_folder, mask_folder = _find(folder, names.images), _find(folder, names.masks)
    if image_folder is None or mask_folder is None:
        there, other = (image_folder, names.masks) if mask_folder is None else (mask_folder, names.images)
        if there is not None:
            problems.append(f"{there}: its other half, a folder '{other[-1]}', is missing.")
        return
    images = _pictures(image_folder, None, problems)
    masks = _pictures(mask_folder, None, problems)
    pairs = pair_by_stem(
        {stem: picture.file for stem, picture in images.items()},
        {stem: picture.file for stem, picture in masks.items()},
        mask_folder,
        problems,
    )
    for stem, image, mask in pairs:
        label = images[stem].label or masks[stem].label or LABEL
        yield Sample(stem, label, image, tuple(Mask(mask, i, rule) for i, rule in enumerate(RULES)), part=part)


def _pictures(folder: Traversable, label: str | None, problems: list[str]) -> dict[str, _Picture]:
    """The pictures in `folder` and in the folders of classes and of other known names in it, by stem."""
    found = {stem: _Picture(file, label) for stem, file in image_files(folder, problems).items()}
    for entry in listing(folder):
        name = entry.name.lower()
        if not entry.is_dir() or not (name in _CLASSES or name in _BETWEEN):
            continue
        for stem, picture in _pictures(entry, _CLASSES.get(name, label), problems).items():
            if stem in found:
                problems.append(f"{picture.file}: {found[stem].file} has the same name. Keep one of them.")
            found.setdefault(stem, picture)
    return found


DATASET = Dataset(
    name=NAME,
    title="REFUGE",
    read=read_refuge,
    recognises=recognises,
    licence="the challenge's terms, on registration",
    source="https://refuge.grand-challenge.org",
    citation=(
        "Orlando, Fu, Barbosa Breda, van Keer, Bathula, Diaz-Pinto, Fang, Heng et al.: REFUGE Challenge: A unified "
        "framework for evaluating automated methods for glaucoma assessment from fundus photographs. Medical Image "
        "Analysis 59, 101570, 2020, https://doi.org/10.1016/j.media.2019.101570"
    ),
    folders=FOLDERS,
    regions=REGIONS,
    colour=True,
    copies=FUNDUS,
    images=1200,
)
