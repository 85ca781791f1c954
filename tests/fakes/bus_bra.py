"""A tiny BUS-BRA: Images, Masks, the table of cases, and the tables of folds; some patients have two images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from fakes.drawing import ellipse, speckle


def make_fake_bus_bra(root: Path, cases: int = 5, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `cases` patients under `root`/BUSBRA, every second with a left and a right side, and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "BUSBRA"
    (folder / "Images").mkdir(parents=True)
    (folder / "Masks").mkdir()
    rows: list[dict[str, object]] = []
    for case in range(1, cases + 1):
        for side in ("l", "r") if case % 2 else ("l",):
            shape = (size[0] + 2 * (case % 3), size[1] + case % 4)
            lesion = ellipse(shape, rng, left_half=side == "l")
            speckle(shape, [lesion], rng).save(folder / "Images" / f"bus_{case:04}-{side}.png")
            Image.fromarray(255 * lesion.astype(np.uint8)).save(folder / "Masks" / f"mask_{case:04}-{side}.png")
            rows.append(
                {
                    "ID": f"bus_{case:04}-{side}",
                    "Case": case,
                    "Pathology": "malignant" if case % 3 == 0 else "benign",
                    "BIRADS": 4,
                    "kFold": 1 + case % 5,
                }
            )
    _write(folder / "bus_data.csv", rows, ("ID", "Case", "Pathology", "BIRADS"))
    for name in ("5-fold-cv.csv", "10-fold-cv.csv"):
        _write(folder / name, rows, ("ID", "Case", "Pathology", "BIRADS", "kFold"))
    return folder


def _write(file: Path, rows: list[dict[str, object]], columns: tuple[str, ...]) -> None:
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
