"""A tiny user folder: images and masks of every permitted name, one of them empty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fakes.drawing import ellipse, speckle

MASK_NAMES = (("{}",), ("{}_mask",), ("{}_mask", "{}_mask_1"))


def make_fake_folder(
    root: Path, subfolders: Sequence[str] = (".",), count: int = 6, seed: int = 0, size: tuple[int, int] = (48, 64)
) -> Path:
    """Write `count` images into each of `subfolders` of `root`/own/images and return `root`/own.

    Masks lie in the same subfolder of masks. Scan 2 of each subfolder has two lesions in two masks; the last has none.
    """
    rng = np.random.default_rng(seed)
    folder = root / "own"
    for subfolder in subfolders:
        images, masks = folder / "images" / subfolder, folder / "masks" / subfolder
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(count):
            shape = (size[0] + 2 * (number % 3), size[1] + number % 4)
            names = MASK_NAMES[number % len(MASK_NAMES)]
            lesions = [ellipse(shape, rng, left_half=i == 0) for i in range(len(names))]
            if number == count - 1:
                names, lesions = ("{}",), [np.zeros(shape, dtype=np.bool_)]
            speckle(shape, lesions, rng).save(images / f"scan {number}.png")
            for name, lesion in zip(names, lesions, strict=True):
                Image.fromarray(255 * lesion.astype(np.uint8)).save(masks / f"{name.format(f'scan {number}')}.png")
    return folder
