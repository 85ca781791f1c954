"""A tiny UDIAT: original/000001.png, GT/000001.png, DatasetB.xlsx with image numbers without leading zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from openpyxl import Workbook

from fakes.drawing import lesion_and_mask


def make_fake_udiat(root: Path, count: int = 6, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `count` images under `root`/BUS, of which every third is malignant, and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "BUS"
    (folder / "original").mkdir(parents=True)
    (folder / "GT").mkdir()
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["Image", "Type ", "Diagnosis"])
    for number in range(1, count + 1):
        image, mask = lesion_and_mask((size[0] + 2 * (number % 3), size[1] + number % 4), rng)
        image.save(folder / "original" / f"{number:06}.png")
        mask.save(folder / "GT" / f"{number:06}.png")
        sheet.append([number, "Malignant" if number % 3 == 0 else "Benign", "CYST"])
    book.save(folder / "DatasetB.xlsx")
    return folder
