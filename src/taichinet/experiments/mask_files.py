"""Predicted masks in a folder: which file is the mask of which image, and its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taichinet import runner
from taichinet.datasets.image_io import mask_values, read_by
from taichinet.datasets.interchange.cases import case_names
from taichinet.datasets.manifest import Manifest
from taichinet.errors import DataError, first_few

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_LISTED = 20  # images without a prediction that are named in the message


def find_masks(folder: Path, tested: Manifest, complete: Manifest) -> dict[str, Path]:
    """The mask of each image, by key.

    The name of a mask without ending is the key of the image, its name in `data export`, the name of the image file, or
    that name with `_mask`, as `predict` writes it; the first that exists is used.

    Args:
        folder: The masks, without subfolders.
        tested: The images that need a mask.
        complete: All images that were exported, which decide the names of the export.

    Raises:
        DataError: Masks are missing, or one mask fits several images. All are named.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder with the predicted masks.")
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in MASK_SUFFIXES and not file.name.startswith("."):
            files.setdefault(file.stem, []).append(file)
    exported = case_names(complete.keys)
    found: dict[str, Path] = {}
    missing, problems = list[str](), list[str]()
    for sample in tested:
        stem = Path(sample.image.name).stem
        names = (sample.key, exported[sample.key], stem, f"{stem}_mask")
        fitting = next((files[name] for name in names if name in files), None)
        if fitting is None:
            missing.append(f"{sample.key}: no {' or '.join(dict.fromkeys(f'{name}.png' for name in names))}")
        elif len(fitting) > 1:
            problems.append(f"{sample.key}: {' and '.join(file.name for file in fitting)}")
        else:
            found[sample.key] = fitting[0]
    users: dict[Path, list[str]] = {}
    for key, file in found.items():
        users.setdefault(file, []).append(key)
    problems += [f"{file.name}: {' and '.join(keys)}" for file, keys in users.items() if len(keys) > 1]
    if problems:
        raise DataError(
            f"{folder}: masks and images cannot be paired. Give one mask per image, named by key:", problems
        )
    if missing:
        raise DataError(
            f"{folder} has no mask for {len(missing)} of {len(tested.samples)} test images. Predict them too (an empty "
            "mask if there is no lesion), or give another fold plan:",
            first_few(missing, _LISTED),
        )
    return found


def read_predicted_mask(file: Path, value: int | None, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A predicted mask, bool (H, W).

    Args:
        file: The mask.
        value: The value of lesion pixels; None for any but 0.
        size: Height and width of the image in pixels.

    Raises:
        DataError: The file cannot be read, or has another size.
    """
    values = mask_values(file, *read_by(runner.decode, file))
    if values.shape != size:
        raise DataError(
            f"{file}: the mask has {values.shape[0]} x {values.shape[1]} pixels (height x width), but the image has "
            f"{size[0]} x {size[1]}. Resize the prediction to the original image."
        )
    mask: NDArray[np.bool_] = values != 0 if value is None else values == value
    return mask
