"""A tiny DDTI: image/N.PNG, mask/N.PNG, and the table beside them that is passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fakes.pictures import ellipse, speckle


def make_fake_ddti(root: Path, count: int = 8, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `count` images under `root`/DDTI, numbered with gaps as the real ones, and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "DDTI"
    (folder / "image").mkdir(parents=True)
    (folder / "mask").mkdir()
    for number in range(count):
        shape = (size[0] + 2 * (number % 3), size[1] + number % 4)
        nodule = ellipse(shape, rng, left_half=True)
        name = f"{3 * number + 1}.PNG"
        speckle(shape, [nodule], rng).convert("RGB").save(folder / "image" / name)
        Image.fromarray(255 * nodule.astype(np.uint8)).save(folder / "mask" / name)
    (folder / "category.csv").write_text("ID,CATE\n1,0\n", encoding="utf-8")
    return folder
