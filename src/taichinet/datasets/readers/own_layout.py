"""The layouts of a user's own folder: the names that are accepted, and where images and masks lie in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable

from taichinet.datasets.readers.layout import image_files, listing
from taichinet.datasets.sample import Part

IMAGE_FOLDERS = ("images", "imgs", "image", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "gt", "annotations", "seg")
MASK_SUFFIXES = ("mask", "seg", "segmentation", "gt")
PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Folders and values of a column that are parts of a split. Like all names here they may be in upper case."""

MASK_NAME = re.compile(rf"(?P<image>.+)_(?P<suffix>{'|'.join(MASK_SUFFIXES)})(?:_(?P<number>[0-9]+))?", re.IGNORECASE)
"""The name of a mask: x_mask, or x_mask_1 if the image x has several."""

EXPECTED = (
    "images/",
    "  a.png",
    "masks/",
    "  a.png or a_mask.png",
    "",
    "or in one folder:",
    "a.png",
    "a_mask.png, a_seg.png,",
    "a_segmentation.png or a_gt.png",
    "",
    "or one of both in each of",
    "train/, val/, test/, or",
    "in each class folder",
    "",
    "or a .csv with the columns",
    "image, mask",
)
"""The layouts, for the message about a folder that has none of them."""


@dataclass(frozen=True)
class Place:
    """A folder of images and the folders of their masks.

    Attributes:
        images: The folder of the images.
        masks: The folder of the masks of each region, outer before inner; the same as `images` if both lie together.
        part: Part of the split, from the name of a folder.
        label: Class, from the name of a folder.
        names: The names of both folders, which are the beginning of keys.
    """

    images: Traversable
    masks: tuple[Traversable, ...]
    part: Part | None = None
    label: str | None = None
    names: tuple[str, ...] = ()

    @property
    def together(self) -> bool:
        """Whether images and masks lie in one folder and differ by the ending of their names."""
        return self.masks == (self.images,)


def find_places(folder: Traversable, problems: list[str]) -> list[Place]:
    """The places of images and masks in a folder.

    Args:
        folder: The folder.
        problems: Receives a line for each folder that makes the layout ambiguous or is too deep.

    Returns:
        The places in a fixed order; none if the layout is unknown.
    """
    return list(_places(Place(folder, (folder,)), problems))


def _places(here: Place, problems: list[str]) -> list[Place]:
    """The places in the folder `here.images`, with the part, class and names of `here`."""
    folder = here.images
    images, masks = _named(folder, IMAGE_FOLDERS), _named(folder, MASK_FOLDERS)
    if images and masks:
        for first, *others in (images, masks):
            problems += [f"{other}: {first.name} exists too. Keep one of them." for other in others]
        return list(_paired(replace(here, images=images[0], masks=(masks[0],)), problems))
    below = _folders(folder)
    if _has_pair(folder):
        problems += [f"{other}: contains images, but so does {folder}. Move one of them." for other in _filled(below)]
        return [here]
    if here.names == () and len(below) < 2:
        return []  # the only folder is the data set itself, not a class or part
    entered = [_enter(here, entry, (entry,)) for entry in below]
    found = [[] if place is None else _places(place, problems) for place in entered]
    return [place for places in found for place in places] if all(found) else []


def _paired(here: Place, problems: list[str]) -> Iterator[Place]:
    """A folder of images and one of masks, and the folders of the same names in both."""
    (masks,) = here.masks
    image_folders = {entry.name.lower(): entry for entry in _folders(here.images)}
    mask_folders = {entry.name.lower(): entry for entry in _folders(masks)}
    numbered = [mask_folders[name] for name in sorted(mask_folders.keys() - image_folders.keys()) if name.isdecimal()]
    if numbered:
        yield replace(here, masks=tuple(sorted(numbered, key=lambda entry: int(entry.name))))
        problems += [
            f"{masks}: contains masks beside the folder {numbered[0].name} of masks. Move them."
            for _ in list(image_files(masks, []))[:1]
        ]
        return
    yield here
    for name in sorted(image_folders.keys() | mask_folders.keys()):
        images = image_folders.get(name, here.images / mask_folders.get(name, masks).name)
        below = _enter(here, images, (mask_folders.get(name, masks / images.name),))
        if below is not None:
            yield from _paired(below, problems)
        else:
            problems += [
                f"{entry}: is below a class folder. A folder is a class, or one of train, val and test. Move its files."
                for entry in _filled([images, *([mask_folders[name]] if name in mask_folders else [])])
            ]


def _enter(here: Place, images: Traversable, masks: tuple[Traversable, ...]) -> Place | None:
    """The place below `here`, whose name is its part or its class; None if it has both or a second of one."""
    name = images.name
    part = PARTS.get(name.lower())
    if part is not None and here.part is None:
        return Place(images, masks, part, here.label, (name, *here.names))
    if part is None and here.label is None:
        return Place(images, masks, here.part, name, (*here.names, name))
    return None


def _folders(folder: Traversable) -> list[Traversable]:
    return [entry for entry in listing(folder) if entry.is_dir()]


def _named(folder: Traversable, names: Sequence[str]) -> list[Traversable]:
    """The folders in `folder` that have one of `names`, in any capitalisation."""
    return [entry for entry in _folders(folder) if entry.name.lower() in names]


def _filled(folders: Sequence[Traversable]) -> list[Traversable]:
    """Those of `folders` that contain images."""
    return [folder for folder in folders if image_files(folder, [])]


def _has_pair(folder: Traversable) -> bool:
    """Whether `folder` contains an image and its mask, which differ by a suffix."""
    stems = image_files(folder, [])
    return any(match["image"] in stems for match in map(MASK_NAME.fullmatch, stems) if match is not None)
