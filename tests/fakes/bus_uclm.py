"""A tiny BUS-UCLM: masks with green, red, both or no lesions, and one mask whose size differs from its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fakes.drawing import ellipse, speckle

GREEN, RED = (0, 255, 0), (255, 0, 0)
KINDS = ((GREEN,), (RED,), (), (GREEN, RED))
"""The colours of the lesions in each patient's images, in turn."""


def make_fake_bus_uclm(
    root: Path, seed: int = 0, size: tuple[int, int] = (48, 64), patients: tuple[str, ...] = ("ALWI", "ANFO")
) -> Path:
    """Write four images per patient under `root`/BUS-UCLM and return that folder; mask ALWI_002 differs in size."""
    rng = np.random.default_rng(seed)
    folder = root / "BUS-UCLM"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["Image;Label"]
    for patient in patients:
        for number, colours in enumerate(KINDS):
            name = f"{patient}_{number:03}.png"
            lesions = [ellipse(size, rng, left_half=i == 0) for i in range(len(colours))]
            speckle(size, lesions, rng).save(folder / "images" / name)
            mask = np.zeros((*size, 3), dtype=np.uint8)
            for lesion, colour in zip(lesions, colours, strict=True):
                mask[lesion] = colour
            Image.fromarray(mask).save(folder / "masks" / name)
            lines.append(f"{name};{('Normal', 'Benign', 'Malignant')[len(colours) and 1 + (RED in colours)]}")
    Image.new("RGB", (size[1] - 4, size[0])).save(folder / "masks" / "ALWI_002.png")
    (folder / "INFO.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder
