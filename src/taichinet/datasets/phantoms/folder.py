"""A folder of phantoms in the layout of BUSI, each simulated with its own seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from taichinet.datasets.phantoms.phantom import (
    EIGHT_NEIGHBOURS,
    LABELS,
    Label,
    Phantom,
    check_size,
    make_phantom,
    second_version,
)
from taichinet.errors import DataError, SettingError
from taichinet.progress import report_progress
from taichinet.storage.atomic import replacing, write_text
from taichinet.storage.documents import read_json

MARKER = "phantoms.json"
RECIPE = 1  # increase it if the images of a seed change, so that old folders are not reused


def write_phantom_busi(
    root: str | Path,
    benign: int,
    malignant: int,
    normal: int,
    seed: int,
    size: tuple[int, int] = (192, 256),
    near_duplicates: int = 0,
) -> Path:
    """Write simulated images in the layout of BUSI.

    Image k of a class depends on `seed` and the size, not on the number of other images. An identical data set is left
    unchanged, another phantom data set is replaced.

    Args:
        root: Folder to write; other non-empty folders are refused.
        benign: Number of images with benign lesions.
        malignant: Number of images with malignant lesions.
        normal: Number of images without a lesion.
        seed: Seed of all images.
        size: Height and width of the images in pixels.
        near_duplicates: Number of images of each class with lesions that are written twice, see `second_version`. The
            second versions follow the other images: see `known_duplicates`.

    Returns:
        `root`.

    Raises:
        DataError: The folder contains other files.
        SettingError: A number is negative, or the size is not supported.
        StorageError: A file cannot be written.
    """
    root = Path(root)
    height, width = size
    check_size(height, width)
    counts: dict[Label, int] = {"benign": benign, "malignant": malignant, "normal": normal}
    wanted: dict[str, int] = {"benign": benign, "malignant": malignant, "normal": normal, "seed": seed}
    wanted |= {"near_duplicates": near_duplicates} if near_duplicates else {}
    for name, value in wanted.items():
        if value < 0:
            raise SettingError(f"Phantoms cannot be written with {name}={value}. Give 0 or more.")
    wanted |= {"height": height, "width": width, "recipe": RECIPE}
    previous = _read_marker(root)
    files = _own_files(root) if previous else []
    if previous == {**wanted, "files": len(files)}:
        return root
    for path in files:
        path.unlink()
    root.mkdir(parents=True, exist_ok=True)
    _write_marker(root, {**wanted, "files": None})  # unfinished
    _write_phantoms(root, counts, seed, size, near_duplicates)
    _write_marker(root, {**wanted, "files": len(_own_files(root))})
    return root


def _write_phantoms(
    root: Path, counts: Mapping[Label, int], seed: int, size: tuple[int, int], near_duplicates: int
) -> None:
    total, done = sum(counts.values()), 0  # a second version takes no time
    for label, label_seed in zip(LABELS, np.random.SeedSequence(seed).spawn(len(LABELS)), strict=True):
        (root / label).mkdir(exist_ok=True)
        for number, image_seed in enumerate(label_seed.spawn(counts[label]), start=1):
            rng = np.random.default_rng(image_seed)
            phantom = make_phantom(rng, label, *size)
            _write_one(phantom, root / label / _name(label, number))
            if label != "normal" and number <= near_duplicates:
                _write_one(second_version(rng, phantom), root / label / _name(label, counts[label] + number))
            done += 1
            report_progress("simulating phantoms", done, total)


def known_duplicates(benign: int, malignant: int, near_duplicates: int) -> list[tuple[str, str]]:
    """The keys of each image that `write_phantom_busi` wrote twice, and of its second version."""
    counts: dict[Label, int] = {"benign": benign, "malignant": malignant}
    return [
        (_name(label, number), _name(label, count + number))
        for label, count in counts.items()
        for number in range(1, min(near_duplicates, count) + 1)
    ]


def _name(label: Label, number: int) -> str:
    return f"{label} ({number})"


def _write_one(phantom: Phantom, stem: Path) -> None:
    """Write `stem.png`, and for each lesion `stem_mask.png`, `stem_mask_1.png`; a normal mask is black."""
    _write_png(phantom.image, stem.with_name(f"{stem.name}.png"))
    pieces, count = ndimage.label(phantom.lesion, EIGHT_NEIGHBOURS)
    for index in range(max(count, 1)):
        suffix = "_mask" if index == 0 else f"_mask_{index}"
        _write_png(pieces == index + 1, stem.with_name(f"{stem.name}{suffix}.png"))


def _write_png(pixels: NDArray[Any], path: Path) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def _own_files(root: Path) -> list[Path]:
    """The images and masks of a phantom data set, no other files."""
    own = re.compile(rf"({'|'.join(LABELS)}) \(\d+\)(_mask(_\d+)?)?\.png")
    return [path for label in LABELS for path in (root / label).glob("*.png") if own.fullmatch(path.name)]


def _write_marker(root: Path, content: Mapping[str, int | None]) -> None:
    write_text(root / MARKER, json.dumps(content, indent=2) + "\n")


def _read_marker(root: Path) -> dict[str, object] | None:
    """The marker of a previous phantom data set in `root`; None for a missing or empty folder."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        marker = read_json(root / MARKER)
    except DataError:
        marker = None
    if isinstance(marker, dict) and "recipe" in marker:
        return marker
    raise DataError(
        f"'{root}' is not empty and is not a phantom data set ({MARKER} is missing or unreadable). "
        "Give a new or empty folder, or empty this one yourself."
    )
