"""A tiny nnU-Net data set: natural images with one or two nested regions, and a test part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakes.drawing import ellipse, speckle

FOLDER = "Dataset501_Fake"


def make_fake_nnunet(
    root: Path,
    count: int = 5,
    tested: int = 2,
    nested: bool = False,
    seed: int = 0,
    size: tuple[int, int] = (48, 64),
    **index: Any,
) -> Path:
    """Write `count` training and `tested` test cases under `root`/Dataset501_Fake, and return that folder.

    With `nested` there are two regions, whole and core. `index` replaces entries of dataset.json.
    """
    rng = np.random.default_rng(seed)
    folder = root / FOLDER
    for number in range(count + tested):
        part = "Tr" if number < count else "Ts"
        for kind in ("images", "labels"):
            (folder / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
        shape = (size[0] + number % 3, size[1] + 2 * (number % 2))
        lesion = ellipse(shape, rng, left_half=True)
        labels = lesion.astype(np.uint8)
        if nested:
            labels[lesion & np.roll(lesion, shape[0] // 10, axis=0)] = 2
        speckle(shape, [lesion], rng).save(folder / f"images{part}" / f"case_{number}_0000.png")
        Image.fromarray(labels).save(folder / f"labels{part}" / f"case_{number}.png")
    content: dict[str, Any] = {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, "core": 2, "whole": [1, 2]} if nested else {"background": 0, "lesion": 1},
        "numTraining": count,
        "file_ending": ".png",
        **({"regions_class_order": [2, 1]} if nested else {}),
        **index,
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
