"""BUSI, the Breast Ultrasound Images data set."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import is_clutter
from taichinet.datasets.sample import NORMAL_CLASS, Mask, Sample

LESION_CLASSES = ("benign", "malignant")

_FILE_NAME = re.compile(
    r"(?P<label>[a-z]+) \((?P<number>[1-9][0-9]*)\)(?P<mask>_mask(?:_(?P<further>[1-9][0-9]*))?)?\.png"
)


@dataclass
class _Entry:
    """The files of one key; mask 0 is `_mask.png`, mask n is `_mask_n.png`."""

    image: Traversable | None = None
    masks: dict[int, Traversable] = field(default_factory=dict)

    @property
    def ordered_masks(self) -> tuple[Mask, ...]:
        return tuple(Mask(file) for _, file in sorted(self.masks.items()))


def _list_samples(reading: Reading) -> Manifest:
    """All samples by class and number: `benign/benign (12).png`, `benign (12)_mask.png`, keys "benign (12)".

    Further lesions are in `_mask_1.png`, `_mask_2.png`, ... The class without lesions is not read unless requested, and
    its folder may be empty or absent, as in copies with lesions only.
    """
    samples: list[Sample] = []
    for label in (*LESION_CLASSES, NORMAL_CLASS) if reading.include_normal else LESION_CLASSES:
        folder = reading.folder / label
        entries, problems = _list_class(folder, label)
        reading.problems += problems
        for number, entry in sorted(entries.items()):
            key = f"{label} ({number})"
            unpaired = list(_pairing_problems(folder, key, entry))
            if entry.image is not None and not unpaired:
                samples.append(Sample(key, label, entry.image, entry.ordered_masks))
            else:
                reading.problems += [*unpaired, *reading.faults_of(entry.image, entry.ordered_masks)]
    normal = {} if reading.include_normal else _list_class(reading.folder / NORMAL_CLASS, NORMAL_CLASS)[0]
    not_requested = sum(entry.image is not None for entry in normal.values())
    return Manifest("busi", tuple(samples), normal_left_out=not_requested)


def _list_class(folder: Traversable, label: str) -> tuple[dict[int, _Entry], list[str]]:
    """The entries of one class folder by number, and its problems."""
    if not folder.is_dir():
        return {}, [] if label == NORMAL_CLASS else [f"{folder}: this class folder is missing."]
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
                f"{file}: does not belong to BUSI, which has only '{label} (N).png', '{label} (N)_mask.png' and "
                f"'{label} (N)_mask_1.png' here. Move it elsewhere."
            )
        elif match["mask"]:
            entries[int(match["number"])].masks[int(match["further"] or 0)] = file
        else:
            entries[int(match["number"])].image = file
    if not entries and not problems and label == NORMAL_CLASS:
        return {}, []
    if not any(entry.image for entry in entries.values()):
        problems.append(f"{folder}: contains no image.")
    return dict(entries), problems


def _recognises(folder: Traversable) -> bool:
    """Whether a class folder contains a file with a name of BUSI, or all class folders are empty.

    Class folders with other names only are those of a user's own folder.
    """
    classes = [place for label in (*LESION_CLASSES, NORMAL_CLASS) if (place := folder / label).is_dir()]
    names = [entry.name for place in classes for entry in place.iterdir() if not is_clutter(entry.name)]
    return bool(classes) and (not names or any(_FILE_NAME.fullmatch(name) for name in names))


def _pairing_problems(folder: Traversable, key: str, entry: _Entry) -> Iterator[str]:
    """What is missing in one entry: its image, its mask, or one mask before another."""
    if entry.image is None:
        names = ", ".join(mask.file.name for mask in entry.ordered_masks)
        yield f"{folder / f'{key}.png'}: this image is missing, but its mask exists ({names})."
    elif not entry.masks:
        yield f"{entry.image}: has no mask '{key}_mask.png'."
    for number in range(max(entry.masks, default=-1)):
        if number not in entry.masks:
            name = f"{key}_mask_{number}.png" if number else f"{key}_mask.png"
            yield f"{folder / name}: this mask is missing, but a later one exists."


DATASET = Dataset(
    name="busi",
    title="BUSI",
    list_samples=_list_samples,
    recognises=_recognises,
    layout="benign, malignant and normal in it (Dataset_BUSI_with_GT)",
    licence="not formally stated by its authors",
    source="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    organ="breast",
    citation=(
        "Al-Dhabyani, Gomaa, Khaled, Fahmy: Dataset of breast ultrasound images. Data in Brief 28, 104863, 2020, "
        "https://doi.org/10.1016/j.dib.2019.104863"
    ),
    folders=("Dataset_BUSI_with_GT",),
    has_normal=True,
    images=780,
)
