"""Fingerprint: all that is kept of a picture in order to find its near-duplicates, about 75 KB whatever its size.

Native pictures of a large data set do not fit into memory (10,000 of 500 x 600 are 3 GB); these do, and each picture
needs decoding only once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taichinet.datasets.duplicates.views import WORKING_SIDE, FloatArray, reduce_area
from taichinet.errors import DataError

GreyImage = NDArray[np.uint8]

THUMBNAIL_SIDE = 48
FLATTEST = 1.0  # grey levels of standard deviation below which a thumbnail shows nothing


@dataclass(frozen=True)
class Fingerprint:
    """`shape` (H, W) and SHA-256 of the pixels, the thumbnail as a unit row (48²,), the picture at about 128² pixels.

    `thumbnail` has zero mean and unit norm, so that a product of two is their correlation; it is all zero where the
    picture shows nothing. `picture` keeps its aspect ratio and its grey values of 0..255.
    """

    shape: tuple[int, int]
    digest: bytes
    thumbnail: FloatArray
    picture: FloatArray


def take_fingerprint(image: GreyImage, key: str = "this picture") -> Fingerprint:
    """The fingerprint of grey uint8 `image` (H, W); DataError, naming `key`, for anything else."""
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise DataError(f"{key}: {image.dtype} of shape {image.shape}; to be compared it must be grey uint8 (H, W).")
    height, width = image.shape
    return Fingerprint(
        shape=(height, width),
        digest=hashlib.sha256(image.tobytes()).digest(),
        thumbnail=take_thumbnail(image),
        picture=reduce_area(image, WORKING_SIDE),
    )


def take_thumbnail(image: GreyImage) -> FloatArray:
    """Area-averaged thumbnail as one row of zero mean and unit norm; all zero where it shows nothing."""
    grey = Image.fromarray(image.astype(np.float32))
    side = THUMBNAIL_SIDE
    row = np.asarray(grey.resize((side, side), Image.Resampling.BOX), dtype=np.float64).ravel()
    row = row - row.mean()
    norm = float(np.linalg.norm(row))
    unit: FloatArray = (row / norm if norm > FLATTEST * side else 0 * row).astype(np.float32)
    return unit
