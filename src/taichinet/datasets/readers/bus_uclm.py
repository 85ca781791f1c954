"""BUS-UCLM, breast ultrasound of 38 women, whose masks give the class by their colours."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import holds_folders, image_files, pair_by_stem
from taichinet.datasets.sample import BRIGHT, NORMAL_CLASS, Mask, Sample
from taichinet.errors import DataError

LESION_CLASS = "lesion"
"""The class of a mask without colours, from a copy that was saved with one-bit or grey masks."""

_RED, _GREEN = 0, 1  # channels
_NAME = re.compile(r"[A-Z]{4}_[0-9]{3}")


def _list_samples(reading: Reading) -> Manifest:
    """All samples: images/ABCD_000.png and masks/ABCD_000.png, keys "ABCD_000".

    The class is the colour of the mask: green benign, red malignant (with both, malignant), none normal, and "lesion"
    for white masks of converted copies. Therefore masks are always decoded; INFO.csv, which has the same and more, is
    ignored and may be absent. The letters of the name are the patient. An image whose mask has another size is left
    out, since the position of the mask is unknown, and named in `Manifest.left_out`; any other fault is a problem.
    """
    folder, problems = reading.folder, reading.problems
    images = image_files(folder / "images", problems)
    masks = image_files(folder / "masks", problems)
    samples: list[Sample] = []
    left_out: list[str] = []

    def classify(pair: tuple[str, Traversable, Traversable]) -> tuple[Sample, str, str]:
        """The sample, and why it is left out or faulty, if it is."""
        stem, image, mask = pair
        sample = Sample(stem, NORMAL_CLASS, image, (), stem.rpartition("_")[0] or None)
        try:
            colours, size = reading.files.mask_colours(mask), reading.files.header(image).size
            label = _label(mask, colours)
        except DataError as fault:
            return sample, "", str(fault)
        if colours.shape[:2] == size:
            return replace(sample, label=label, masks=(Mask(mask),)), "", ""
        other_size = f"the mask is {colours.shape[0]} x {colours.shape[1]} pixels, its image {size[0]} x {size[1]}"
        return sample, f"masks/{mask.name}: {other_size} (height x width).", ""

    with ThreadPoolExecutor(max_workers=2) as pool:
        pairs = pair_by_stem(images, masks, folder / "masks", problems)
        for sample, reason, problem in list(pool.map(classify, pairs)):
            problems += [problem] if problem else []
            if reason:
                left_out.append(reason)
                problems += reading.faults_of(sample.image)  # another size is accepted, damage is not
            else:
                samples.append(sample)
    whole = Manifest("bus-uclm", tuple(samples), left_out=tuple(left_out))
    if reading.include_normal:
        return whole
    for sample in whole:
        problems += reading.faults_of(sample.image, sample.masks) if sample.label == NORMAL_CLASS else []
    return whole.without_normal()


def _recognises(folder: Traversable) -> bool:
    """Whether `folder` has both folders, and INFO.csv or only images with names as ABCD_000."""
    if not holds_folders(folder, "images", "masks"):
        return False
    names = image_files(folder / "images", [])
    return (folder / "INFO.csv").is_file() or (bool(names) and all(_NAME.fullmatch(name) for name in names))


def _label(mask: Traversable, colours: NDArray[np.uint8]) -> str:
    """The class of a mask (H, W, 3) by its foreground; raises DataError if a pixel is neither red nor green.

    A pixel is red if red exceeds green and vice versa, so that blended colours at edges count as one of them. A mask
    whose whole foreground is grey has no colours.
    """
    foreground = colours[colours.max(axis=2) >= BRIGHT.low]
    if len(foreground) and (foreground == foreground[:, :1]).all():
        return LESION_CLASS
    red, green = foreground[:, _RED], foreground[:, _GREEN]
    neither = foreground[red == green]
    if len(neither):
        raise DataError(
            f"{mask}: a pixel has the colour {tuple(neither[0].tolist())}, neither red (malignant) nor green (benign); "
            "copy it again from the original."
        )
    if (red > green).any():
        return "malignant"
    return "benign" if len(foreground) else NORMAL_CLASS


DATASET = Dataset(
    name="bus-uclm",
    title="BUS-UCLM",
    list_samples=_list_samples,
    recognises=_recognises,
    layout="images and masks in it, with names as ABCD_000.png",
    licence="CC BY-NC 4.0 in its authors' repository; others quote CC BY 4.0 for the copy at its DOI",
    source="https://doi.org/10.17632/7fvgj4jsp7",
    organ="breast",
    citation=(
        "Vallez, Bueno, Deniz, Rienda, Pastor: BUS-UCLM: Breast ultrasound lesion segmentation dataset. "
        "Scientific Data 12, 242, 2025, https://doi.org/10.1038/s41597-025-04562-3"
    ),
    folders=("BUS-UCLM", "BUS-UCLM Breast ultrasound lesion segmentation dataset/BUS-UCLM"),
    has_normal=True,
    images=683,
)
