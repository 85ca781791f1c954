"""A tiny BUSI: the layout, names and pixel modes of the real one, with drawn ellipses for lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = "Dataset_BUSI_with_GT"
IMAGE_MODES = ("RGB", "L")
LESION_MASK_MODES = ("1", "L", "RGBA")


def make_fake_busi(
    root: Path,
    benign: int = 4,
    malignant: int = 3,
    normal: int = 2,
    seed: int = 0,
    size: tuple[int, int] = (60, 80),
) -> Path:
    """Write the data set under `root` and return its folder `root/Dataset_BUSI_with_GT`.

    `size` is (height, width) of the first image; the others differ a little. `benign (1)` has a second
    lesion in `_mask_1.png`. The same arguments give the same bytes.
    """
    rng = np.random.default_rng(seed)
    folder = root / FOLDER
    written = 0
    for label, count in (("benign", benign), ("malignant", malignant), ("normal", normal)):
        (folder / label).mkdir(parents=True)
        for number in range(1, count + 1):
            shape = (size[0] + 2 * (written % 5), size[1] + 3 * (written % 4))
            stem = f"{label} ({number})"
            lesions: list[NDArray[np.bool_]] = []
            if label != "normal":
                lesions.append(_ellipse(shape, rng, left_half=True))
            if stem == "benign (1)":
                lesions.append(_ellipse(shape, rng, left_half=False))
            image = _speckle(shape, lesions, rng)
            image.convert(IMAGE_MODES[written % len(IMAGE_MODES)]).save(folder / label / f"{stem}.png")
            for index, lesion in enumerate(lesions):
                mode = LESION_MASK_MODES[(written + index) % len(LESION_MASK_MODES)]
                suffix = f"_mask_{index}" if index else "_mask"
                mask = Image.fromarray(255 * lesion.astype(np.uint8)).convert(mode)
                mask.save(folder / label / f"{stem}{suffix}.png")
            if not lesions:
                Image.new("RGB", (shape[1], shape[0])).save(folder / label / f"{stem}_mask.png")
            written += 1
    return folder


def _ellipse(shape: tuple[int, int], rng: np.random.Generator, left_half: bool) -> NDArray[np.bool_]:
    """One ellipse within the left or the right half of an image of `shape`."""
    height, width = shape
    row = height * rng.uniform(0.4, 0.6)
    column = width * (rng.uniform(0.22, 0.28) + (0 if left_half else 0.5))
    rows, columns = np.mgrid[:height, :width]
    squared = ((rows - row) / (height * rng.uniform(0.15, 0.3))) ** 2
    squared += ((columns - column) / (width * rng.uniform(0.1, 0.2))) ** 2
    inside: NDArray[np.bool_] = squared <= 1
    return inside


def _speckle(shape: tuple[int, int], lesions: list[NDArray[np.bool_]], rng: np.random.Generator) -> Image.Image:
    """Grey tissue with multiplicative noise, darker where a lesion is."""
    tissue = np.full(shape, 130.0)
    for lesion in lesions:
        tissue[lesion] = 50.0
    return Image.fromarray(np.clip(tissue * rng.gamma(9, 1 / 9, shape), 0, 255).astype(np.uint8))
