"""A tiny BUSI: the layout, names and pixel modes of the real one, with drawn ellipses for lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fakes.drawing import ellipse, speckle

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
                lesions.append(ellipse(shape, rng, left_half=True))
            if stem == "benign (1)":
                lesions.append(ellipse(shape, rng, left_half=False))
            image = speckle(shape, lesions, rng)
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
