"""Fingerprint: the reduced data of an image for the search for near-duplicates, about 75 KB for any size.

The images of a large data set do not fit into memory at their original resolution (10,000 of 500 x 600 need 3 GB).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taichinet.errors import DataError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.intp]
GreyImage = NDArray[np.uint8]

THUMBNAIL_SIDE = 48
WORKING_SIDE = 128  # images are first reduced to the area of this square
FLATTEST = 1.0  # standard deviation in grey levels below which a thumbnail shows nothing


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of one image.

    Attributes:
        shape: (H, W) of the image in pixels.
        digest: SHA-256 of the shape and the grey values, in hexadecimal digits.
        thumbnail: Thumbnail as a row (48²,) of zero mean and unit norm, so that a product of two is their correlation;
            zero if the image shows nothing.
        reduced: The image reduced to about 128² pixels with the same aspect ratio, grey values 0..255, or None.
    """

    shape: tuple[int, int]
    digest: str
    thumbnail: FloatArray
    reduced: FloatArray | None


def take_fingerprint(image: GreyImage, key: str = "this image", with_reduced: bool = True) -> Fingerprint:
    """The fingerprint of a grey image.

    Args:
        image: uint8 (H, W).
        key: Name of the image in messages.
        with_reduced: Whether to include the reduced image.

    Returns:
        The fingerprint.

    Raises:
        DataError: `image` has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise DataError(f"{key}: {image.dtype} of shape {image.shape}; to be compared it must be grey uint8 (H, W).")
    height, width = image.shape
    scale = WORKING_SIDE / (height * width) ** 0.5
    reduced = resize_by_area(image, max(1, round(width * scale)), max(1, round(height * scale)))
    return Fingerprint(
        shape=(height, width),
        digest=hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest(),
        thumbnail=take_thumbnail(image),
        reduced=reduced if with_reduced else None,
    )


def take_thumbnail(image: GreyImage) -> FloatArray:
    """The thumbnail of a grey image, as in `Fingerprint`."""
    row = resize_by_area(image, THUMBNAIL_SIDE, THUMBNAIL_SIDE).astype(np.float64).ravel()
    row = row - row.mean()
    norm = float(np.linalg.norm(row))
    unit: FloatArray = (row / norm if norm > FLATTEST * THUMBNAIL_SIDE else 0 * row).astype(np.float32)
    return unit


def resize_by_area(image: NDArray[np.uint8] | FloatArray, width: int, height: int) -> FloatArray:
    """`image` (H, W) averaged over areas to (height, width)."""
    grey = Image.fromarray(image.astype(np.float32))
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX))
