"""What the layouts of all data sets have in common: a top, folders of images, masks paired by name, one verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.archive import open_archive
from taichinet.datasets.image_io import problems_in
from taichinet.datasets.manifest import Mask, Sample
from taichinet.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

_CLUTTER = ("__macosx", "thumbs.db", "desktop.ini")


def open_top(root: Path, remedy: str) -> Traversable:
    """The folder or the inside of the zip at `root`; DataError, ending with `remedy`, where it is neither."""
    if root.is_dir():
        return root
    if not root.exists():
        raise DataError(f"There is no {root}. {remedy}")
    if not root.is_file():
        raise DataError(f"{root} is neither a folder nor a zip. {remedy}")  # a pipe would block for ever
    try:
        return open_archive(root)
    except DataError as fault:
        raise DataError(f"{fault} {remedy}") from fault


def find_folder(
    top: Traversable, names: Iterable[str], recognises: Callable[[Traversable], bool]
) -> Traversable | None:
    """The folder that `recognises` knows: `top` itself, one of `names` in it, or its only folder."""
    candidates = [top, *(top / name for name in names)]
    inside = [entry for entry in listing(top) if entry.is_dir()]
    if len(inside) == 1:
        candidates.append(inside[0])
    return next((folder for folder in candidates if folder.is_dir() and recognises(folder)), None)


def holds_folders(folder: Traversable, *names: str) -> bool:
    """Whether a folder of each of `names` is in `folder`."""
    return all((folder / name).is_dir() for name in names)


def listing(folder: Traversable) -> list[Traversable]:
    """What lies in `folder`, by name; what an operating system leaves behind is passed over."""
    if not folder.is_dir():
        return []
    return sorted((entry for entry in folder.iterdir() if not is_clutter(entry.name)), key=lambda entry: entry.name)


def is_clutter(name: str) -> bool:
    """Whether a file of this name is an operating system's, nobody's data."""
    return name.startswith(".") or name.lower() in _CLUTTER


def is_text(name: str) -> bool:
    """Whether `name` can be written to a file: a name on disk that is not valid UTF-8 cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def image_files(folder: Traversable, problems: list[str]) -> dict[str, Traversable]:
    """The images of `folder` by stem, numbers in their order; a stem that is there twice goes to `problems`.

    Files of other kinds (a readme, a table) are passed over.
    """
    found: dict[str, Traversable] = {}
    for file in listing(folder):
        stem, dot, suffix = file.name.rpartition(".")
        if not dot or f".{suffix.lower()}" not in IMAGE_SUFFIXES or not file.is_file():
            continue
        if stem in found:
            problems.append(f"{file}: {found[stem].name} has the same name. Keep one of them.")
        found.setdefault(stem, file)
    return dict(sorted(found.items(), key=lambda item: natural_order(item[0])))


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A sorting key under which "img 2" comes before "img 10", at any place of the name."""
    parts: list[str | int] = list(re.split(r"([0-9]+)", name))  # text and digits in turn, text first even if empty
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def pair_by_stem(
    images: Mapping[str, Traversable], masks: Mapping[str, Traversable], folder: Traversable, problems: list[str]
) -> Iterator[tuple[str, Traversable, Traversable]]:
    """(stem, image, mask) of all that have both; what has only one goes to `problems`. `folder` is the masks'."""
    for stem, image in images.items():
        if stem in masks:
            yield stem, image, masks[stem]
        else:
            problems.append(f"{image}: has no mask '{stem}' in {folder}.")
    problems += [f"{mask}: has no image '{stem}'." for stem, mask in masks.items() if stem not in images]


def paired_samples(images: Traversable, masks: Traversable, label: str, problems: list[str]) -> list[Sample]:
    """A sample, all of class `label`, of each image in folder `images` that has a mask of its name in folder `masks`.

    The name is the key. What is alone, and names that are there twice, go to `problems`.
    """
    pairs = pair_by_stem(image_files(images, problems), image_files(masks, problems), masks, problems)
    return [Sample(stem, label, image, (Mask(mask),)) for stem, image, mask in pairs]


def verified(
    title: str, root: Path, samples: Sequence[Sample], problems: Sequence[str], remedy: str, verify: bool = True
) -> tuple[Sample, ...]:
    """`samples`, or one DataError with `problems` and, with `verify`, every fault that decoding finds."""
    found = list(problems)
    found += [f"{root}: the name {s.key!r} is not valid UTF-8. Rename the file." for s in samples if not is_text(s.key)]
    if verify:
        with ThreadPoolExecutor(max_workers=2) as pool:
            for faults in pool.map(lambda sample: problems_in(sample.image, sample.masks), samples):
                found += faults
    if not samples and not found:
        found = [f"{root}: holds no image at all."]
    found = list(dict.fromkeys(found))  # a file that paints several regions is reported once
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise DataError(
            f"{root} is not a whole {title}: {count}. Repair each, or download the data set again. {remedy}", found
        )
    return tuple(samples)
