"""A tiny BrEaST: images, tumor masks and masks of other findings in one folder, the clinical data beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from openpyxl import Workbook
from PIL import Image

from fakes.drawing import ellipse, speckle

IMAGES = "BrEaST-Lesions_USG-images_and_masks"
TABLE = "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"
CLASSES = ("benign", "malignant", "normal", "benign")


def make_fake_breast(root: Path, count: int = 6, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `count` cases under `root`/BrEaST-Lesions_USG, of which case001 has another finding; return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "BrEaST-Lesions_USG"
    (folder / IMAGES).mkdir(parents=True)
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["CaseID", "Image_filename", "Mask_tumor_filename", "Mask_other_filename", "Age", "Classification"])
    for number in range(1, count + 1):
        label = CLASSES[(number - 1) % len(CLASSES)]
        stem = f"case{number:03}"
        shape = (size[0] + 2 * (number % 3), size[1] + number % 4)
        masks = {"other1": ellipse(shape, rng, left_half=False)} if number == 1 else {}
        if label != "normal":
            masks["tumor"] = ellipse(shape, rng, left_half=True)
        speckle(shape, list(masks.values()), rng).save(folder / IMAGES / f"{stem}.png")
        for end, lesion in masks.items():
            Image.fromarray(255 * lesion.astype(np.uint8)).save(folder / IMAGES / f"{stem}_{end}.png")
        names = [f"{stem}_{end}.png" if end in masks else None for end in ("tumor", "other1")]
        sheet.append([number, f"{stem}.png", *names, 50.0, label])
    book.save(folder / TABLE)
    return folder
