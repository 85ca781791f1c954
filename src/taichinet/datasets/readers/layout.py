"""What the layouts of data sets have in common: folders of images, and masks paired with images by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from taichinet.datasets.archive import open_archive
from taichinet.datasets.sample import Mask, Sample
from taichinet.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

_CLUTTER = ("__macosx", "thumbs.db", "desktop.ini")


def open_top(root: Path, remedy: str) -> Traversable:
    """The folder at `root`, or the inside of the zip file; a DataError that ends with `remedy` if it is neither."""
    if root.is_dir():
        return root
    if not root.exists():
        raise DataError(f"{root} does not exist. {remedy}")
    if not root.is_file():
        raise DataError(f"{root} is neither a folder nor a zip. {remedy}")  # opening a pipe would block
    try:
        return open_archive(root)
    except DataError as fault:
        raise DataError(f"{fault} {remedy}") from fault


def find_folder(
    top: Traversable, names: Iterable[str], recognises: Callable[[Traversable], bool]
) -> Traversable | None:
    """The folder that `recognises` accepts: `top`, one of `names` in it, or its only folder; None if there is none."""
    candidates = [top, *(top / name for name in names)]
    inside = [entry for entry in listing(top) if entry.is_dir()]
    if len(inside) == 1:
        candidates.append(inside[0])
    return next((folder for folder in candidates if folder.is_dir() and recognises(folder)), None)


def holds_folders(folder: Traversable, *names: str) -> bool:
    """Whether `folder` contains a folder of each of `names`."""
    return all((folder / name).is_dir() for name in names)


def listing(folder: Traversable) -> list[Traversable]:
    """The content of `folder` by name, without files of operating systems; empty if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted((entry for entry in folder.iterdir() if not is_clutter(entry.name)), key=lambda entry: entry.name)


def is_clutter(name: str) -> bool:
    """Whether an operating system creates files of this name."""
    return name.startswith(".") or name.lower() in _CLUTTER


def image_files(folder: Traversable, problems: list[str]) -> dict[str, Traversable]:
    """The images in `folder` by name.

    Args:
        folder: A folder, which may be absent. Files of other kinds (a readme, a table) are ignored.
        problems: Receives one line for each name that occurs with two endings.

    Returns:
        Name without ending -> file, numbers in their order ("img 2" before "img 10").
    """
    files: dict[str, Traversable] = {}
    for file in listing(folder):
        stem, dot, suffix = file.name.rpartition(".")
        if not dot or f".{suffix.lower()}" not in IMAGE_SUFFIXES or not file.is_file():
            continue
        if stem in files:
            problems.append(f"{file}: {files[stem].name} has the same name. Keep one of them.")
        files.setdefault(stem, file)
    return dict(sorted(files.items(), key=lambda item: natural_order(item[0])))


def listed_path_fault(text: str, index: str) -> str | None:
    """Why a path in a list of files is refused, or None. Nothing outside the folder of the data set is read.

    Args:
        text: The path.
        index: What the file with the list is called in the message, e.g. "JSON".

    Returns:
        What is wrong and the remedy, or None.
    """
    path = PurePosixPath(text)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in text or ":" in text:
        return (
            f"{text!r} must be relative to the {index}'s folder and below it, with forward slashes. Move the {index} "
            "there."
        )
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return f"{text!r} is not a 2D image ({', '.join(IMAGE_SUFFIXES)}). Save volumes slice by slice as PNG."
    return None


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A sorting key by which "img 2" comes before "img 10"."""
    parts: list[str | int] = list(re.split(r"([0-9]+)", name))  # text and digits in turn, beginning with text
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def pair_by_stem(
    images: Mapping[str, Traversable], masks: Mapping[str, Traversable], folder: Traversable, problems: list[str]
) -> Iterator[tuple[str, Traversable, Traversable]]:
    """(name, image, mask) for each name with both; `problems` receives a line for each file without a partner.

    `folder` is that of the masks, for the messages.
    """
    for stem, image in images.items():
        if stem in masks:
            yield stem, image, masks[stem]
        else:
            problems.append(f"{image}: has no mask '{stem}' in {folder}.")
    problems += [f"{mask}: has no image '{stem}'." for stem, mask in masks.items() if stem not in images]


def paired_samples(images: Traversable, masks: Traversable, label: str, problems: list[str]) -> list[Sample]:
    """One sample for each image that has a mask of the same name.

    Args:
        images: Folder of images.
        masks: Folder of masks.
        label: Class of all samples.
        problems: Receives a line for each file without a partner, and for each name that occurs twice.

    Returns:
        The samples, whose keys are the names of the files without ending.
    """
    pairs = pair_by_stem(image_files(images, problems), image_files(masks, problems), masks, problems)
    return [Sample(stem, label, image, (Mask(mask),)) for stem, image, mask in pairs]
