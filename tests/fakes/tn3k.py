"""A tiny TN3K: two parts that both number images from 0000, masks as JPEG, and one file per fold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fakes.drawing import lesion_and_mask


def make_fake_tn3k(
    root: Path, trainval: int = 10, test: int = 3, seed: int = 0, size: tuple[int, int] = (48, 64)
) -> Path:
    """Write both parts under `root`/tn3k, with trainval image n validated in fold n modulo 5; return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "tn3k"
    for part, count in (("trainval", trainval), ("test", test)):
        for kind in ("image", "mask"):
            (folder / f"{part}-{kind}").mkdir(parents=True)
        for number in range(count):
            image, mask = lesion_and_mask((size[0] + 2 * (number % 3), size[1] + number % 4), rng)
            image.convert("RGB").save(folder / f"{part}-image" / f"{number:04}.jpg")
            mask.save(folder / f"{part}-mask" / f"{number:04}.jpg")  # with JPEG noise around its edges
    for fold in range(5):
        parts = {
            "train": [n for n in range(trainval) if n % 5 != fold],
            "val": [n for n in range(trainval) if n % 5 == fold],
        }
        (folder / f"tn3k-trainval-fold{fold}.json").write_text(json.dumps(parts), encoding="utf-8")
    return folder
