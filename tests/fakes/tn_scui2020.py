"""A tiny training part of TN-SCUI2020: image/N.PNG, mask/N.PNG, train.csv with the files' names and classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fakes.drawing import lesion_and_mask


def make_fake_tn_scui2020(root: Path, count: int = 6, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `count` images under `root`/TNSCUI2020_train, alternately benign and malignant, and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "TNSCUI2020_train"
    (folder / "image").mkdir(parents=True)
    (folder / "mask").mkdir()
    rows = ["ID,CATE"]
    for number in range(1, count + 1):
        image, mask = lesion_and_mask((size[0] + 2 * (number % 3), size[1] + number % 4), rng)
        image.convert("RGB").save(folder / "image" / f"{number}.PNG")
        mask.save(folder / "mask" / f"{number}.PNG")
        rows.append(f"{number}.PNG,{number % 2}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
