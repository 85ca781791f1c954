"""A tiny STU-Hospital: Test_Image_N.png and mask_N.png side by side, all of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fakes.drawing import lesion_and_mask


def make_fake_stu_hospital(root: Path, count: int = 11, seed: int = 0, size: tuple[int, int] = (48, 48)) -> Path:
    """Write `count` images under `root`/Hospital and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "Hospital"
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        image, mask = lesion_and_mask(size, rng)
        image.save(folder / f"Test_Image_{number}.png")
        mask.save(folder / f"mask_{number}.png")
    return folder
