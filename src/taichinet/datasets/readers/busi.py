"""BUSI, the Breast Ultrasound Images data set, read where it lies: from its folder or its zip."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.image_io import problems_in
from taichinet.datasets.manifest import NORMAL_CLASS, Manifest, Mask, Sample
from taichinet.datasets.readers.layout import is_clutter, open_top
from taichinet.errors import DataError

NAME = "busi"
FOLDER = "Dataset_BUSI_with_GT"
LESION_CLASSES = ("benign", "malignant")

_REMEDY = (
    f"Pass the folder {FOLDER} (with benign, malignant and normal in it) or its zip, "
    "as its authors distribute it (see docs/data.md)."
)
_FILE_NAME = re.compile(
    r"(?P<label>[a-z]+) \((?P<number>[1-9][0-9]*)\)(?P<mask>_mask(?:_(?P<further>[1-9][0-9]*))?)?\.png"
)


@dataclass
class _Entry:
    """The files of one key while a class folder is listed; mask 0 is `_mask.png`, mask n is `_mask_n.png`."""

    image: Traversable | None = None
    masks: dict[int, Traversable] = field(default_factory=dict)

    @property
    def ordered_masks(self) -> tuple[Mask, ...]:
        return tuple(Mask(file) for _, file in sorted(self.masks.items()))


def read_busi(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of BUSI under `root`, by class, then number, with the images' names as keys: "benign (12)".

    `root` is the folder `Dataset_BUSI_with_GT`, a folder holding it, or a zip of either. In it lie
    `CLASS/CLASS (N).png`, `CLASS (N)_mask.png` and, for further lesions, `_mask_1.png`, `_mask_2.png`, ...
    `include_normal=False` leaves out the class without lesions, unread. `verify` decodes every file, for a
    PNG that is cut short shows it only then; without it only names and pairs are checked. All problems are
    in one DataError.
    """
    folder = _dataset_folder(open_top(root, _REMEDY), root)
    labels = (*LESION_CLASSES, NORMAL_CLASS) if include_normal else LESION_CLASSES
    samples: list[Sample] = []
    entries: list[_Entry] = []
    problems: list[str] = []
    for label in labels:
        listed, foreign = _list_class(folder / label, label)
        problems += foreign
        for number, entry in sorted(listed.items()):
            key = f"{label} ({number})"
            unpaired = list(_pairing_problems(folder / label, key, entry))
            problems += unpaired
            entries.append(entry)
            if entry.image is not None and not unpaired:
                samples.append(Sample(key, label, entry.image, entry.ordered_masks))
    if verify:
        with ThreadPoolExecutor(max_workers=2) as pool:
            for found in pool.map(lambda entry: problems_in(entry.image, entry.ordered_masks), entries):
                problems += found
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DataError(
            f"{root} is not a whole BUSI: {count}. Repair each, or download the data set again. {_REMEDY}", problems
        )
    normal = {} if include_normal else _list_class(folder / NORMAL_CLASS, NORMAL_CLASS)[0]
    left_out = sum(entry.image is not None for entry in normal.values())
    return Manifest(NAME, tuple(samples), normal_left_out=left_out)


def recognises(folder: Traversable) -> bool:
    """Whether a class folder, or the folder that holds them, is in `folder`."""
    return any((folder / label).is_dir() for label in (*LESION_CLASSES, NORMAL_CLASS)) or (folder / FOLDER).is_dir()


def _dataset_folder(top: Traversable, root: Path) -> Traversable:
    """The folder that holds the class folders: `top` itself, or `Dataset_BUSI_with_GT` in it."""
    for folder in (top, top / FOLDER):
        if any((folder / label).is_dir() for label in (*LESION_CLASSES, NORMAL_CLASS)):
            return folder
    raise DataError(f"{root} holds no image of BUSI: no class folder (benign, malignant, normal) is in it. {_REMEDY}")


def _list_class(folder: Traversable, label: str) -> tuple[dict[int, _Entry], list[str]]:
    """The entries of one class folder by number, and what in it belongs to no entry."""
    if not folder.is_dir():
        return {}, [f"{folder}: this class folder is missing."]
    try:
        files = sorted(folder.iterdir(), key=lambda file: file.name)
    except OSError as fault:
        return {}, [f"{folder}: cannot be listed ({fault})."]
    entries: dict[int, _Entry] = defaultdict(_Entry)
    problems: list[str] = []
    for file in files:
        if is_clutter(file.name):
            continue
        match = _FILE_NAME.fullmatch(file.name)
        if match is None or match["label"] != label or not file.is_file():
            problems.append(
                f"{file}: foreign to BUSI; only files '{label} (N).png', '{label} (N)_mask.png' and "
                f"'{label} (N)_mask_1.png' belong here. Move it elsewhere."
            )
        elif match["mask"]:
            entries[int(match["number"])].masks[int(match["further"] or 0)] = file
        else:
            entries[int(match["number"])].image = file
    if not any(entry.image for entry in entries.values()):
        problems.append(f"{folder}: holds no image at all.")
    return dict(entries), problems


def _pairing_problems(folder: Traversable, key: str, entry: _Entry) -> Iterator[str]:
    """What is missing of one entry: its image, its mask, or one mask before another."""
    if entry.image is None:
        names = ", ".join(mask.file.name for mask in entry.ordered_masks)
        yield f"{folder / f'{key}.png'}: this image is missing, but its mask is there ({names})."
    elif not entry.masks:
        yield f"{entry.image}: has no mask '{key}_mask.png'."
    for number in range(max(entry.masks, default=-1)):
        if number not in entry.masks:
            name = f"{key}_mask_{number}.png" if number else f"{key}_mask.png"
            yield f"{folder / name}: this mask is missing, but a later one is there."


DATASET = Dataset(
    name=NAME,
    title="BUSI",
    read=read_busi,
    recognises=recognises,
    licence="not formally stated by its authors",
    source="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    citation=(
        "Al-Dhabyani, Gomaa, Khaled, Fahmy: Dataset of breast ultrasound images. Data in Brief 28, 104863, 2020, "
        "https://doi.org/10.1016/j.dib.2019.104863"
    ),
    folders=(FOLDER,),
    has_normal=True,
    images=780,
)
