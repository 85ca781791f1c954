"""A tiny REFUGE: three parts with JPEG images, and BMP masks in which 0 is the cup, 128 the rim, 255 neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fakes.drawing import fundus

VALUES = np.array([255, 128, 0], dtype=np.uint8)
_PLACES = (
    ("Training400/Glaucoma", "Annotation-Training400/Disc_Cup_Masks/Glaucoma", "g"),
    ("Training400/Non-Glaucoma", "Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma", "n"),
    ("REFUGE-Validation400", "REFUGE-Validation400-GT/Disc_Cup_Masks", "V"),
    ("Test400", "REFUGE-Test-GT/Disc_Cup_Masks/G", "T"),
    ("Test400", "REFUGE-Test-GT/Disc_Cup_Masks/N", "T"),
)


def make_fake_refuge(root: Path, count: int = 2, seed: int = 0, size: tuple[int, int] = (54, 60)) -> Path:
    """Write `count` images to each place under `root`/REFUGE, and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "REFUGE"
    numbers = dict.fromkeys("gnVT", 0)
    for images, masks, letter in _PLACES:
        for place in (images, masks):
            (folder / place).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            numbers[letter] += 1
            stem = f"{letter}{numbers[letter]:04}"
            image, parts = fundus((size[0] + numbers[letter], size[1]), rng)
            image.save(folder / images / f"{stem}.jpg")
            Image.fromarray(VALUES[parts]).save(folder / masks / f"{stem}.bmp")
    return folder
