"""A tiny Drishti-GS1: Training and Test with Images and soft maps of disc and cup, without the graders' boundaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fakes.drawing import fundus

GRADERS = np.array([0, 64, 191, 255], dtype=np.uint8)
"""The values for zero, one, three and four of four graders, out of the five values in the real data."""


def make_fake_drishti_gs(
    root: Path,
    training: int = 3,
    test: int = 3,
    seed: int = 0,
    size: tuple[int, int] = (54, 60),
    classes: tuple[str, ...] = ("ALL",),
    test_maps: str = "GT",
) -> Path:
    """Write both parts under `root`/Drishti-GS, the folders of `classes` in turn, and return that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "Drishti-GS"
    number = 0
    for name, maps, count in (("Training", "GT", training), ("Test", test_maps, test)):
        for _ in range(count):
            number += 2
            stem = f"drishtiGS_{number:03}"
            images = folder / name / "Images" / classes[(number // 2) % len(classes)]
            soft = folder / name / maps / stem / "SoftMap"
            for place in (images, soft):
                place.mkdir(parents=True, exist_ok=True)
            image, parts = fundus((size[0] + number % 5, size[1] + number % 3), rng)
            image.save(images / f"{stem}.png")
            for end, inside in (("ODsegSoftmap", parts >= 1), ("cupsegSoftmap", parts == 2)):
                votes = np.where(inside, rng.integers(2, 4, inside.shape), rng.integers(0, 2, inside.shape))
                Image.fromarray(GRADERS[votes]).save(soft / f"{stem}_{end}.png")
            (soft.parent / f"{stem}_cdrValues.txt").write_text("0.6", encoding="utf-8")
    return folder
