"""A tiny MONAI datalist: images and label maps in a folder, assigned to folds, one image without a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakes.drawing import ellipse, speckle

FOLDER = "datalist"


def make_fake_monai(
    root: Path, count: int = 6, seed: int = 0, size: tuple[int, int] = (48, 64), white: int = 1, **index: Any
) -> Path:
    """Write `count` images under `root`/datalist, the last one in the test part, and return that folder.

    Lesions have the value `white` in their label maps. `index` replaces or adds entries of datalist.json.
    """
    rng = np.random.default_rng(seed)
    folder = root / FOLDER
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    entries: list[dict[str, Any]] = []
    for number in range(count):
        shape = (size[0] + number % 3, size[1] + 2 * (number % 2))
        lesion = ellipse(shape, rng, left_half=True)
        speckle(shape, [lesion], rng).save(folder / "images" / f"scan-{number}.png")
        Image.fromarray(white * lesion.astype(np.uint8)).save(folder / "labels" / f"scan-{number}.png")
        entries.append({"image": f"images/scan-{number}.png", "label": f"labels/scan-{number}.png"})
    content = {
        "name": "fake",
        "training": [{**entry, "fold": number % 2} for number, entry in enumerate(entries[:-1])],
        "test": [entries[-1], {"image": "images/unlabelled.png"}],
        **index,
    }
    (folder / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
