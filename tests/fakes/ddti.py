"""A tiny DDTI: image/N.PNG, mask/N.PNG, and a table beside them that the reader ignores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fakes.drawing import lesion_and_mask


def make_fake_ddti(root: Path, count: int = 8, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `count` images under `root`/DDTI, numbered with gaps as the real ones, and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "DDTI"
    (folder / "image").mkdir(parents=True)
    (folder / "mask").mkdir()
    for number in range(count):
        shape = (size[0] + 2 * (number % 3), size[1] + number % 4)
        image, mask = lesion_and_mask(shape, rng)
        name = f"{3 * number + 1}.PNG"
        image.convert("RGB").save(folder / "image" / name)
        mask.save(folder / "mask" / name)
    (folder / "category.csv").write_text("ID,CATE\n1,0\n", encoding="utf-8")
    return folder
