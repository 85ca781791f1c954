"""Fingerprint: the reduced data of an image for the search for near-duplicates, and which thumbnails correlate.

The images of a large data set do not fit into memory at their original resolution (10,000 of 500 x 600 need 3 GB); a
fingerprint takes about 75 KB for any size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.intp]
GreyImage = NDArray[np.uint8]

THUMBNAIL_SIDE = 48
WORKING_SIDE = 128  # images are first reduced to the area of this square
FLATTEST = 1.0  # standard deviation in grey levels below which a thumbnail shows nothing
SLACK = 1e-4  # rounding of single precision must not rule out
ROWS_AT_ONCE = 256
CROWDED = 0.02  # share of a block's pairs from which on a product per pair needs more memory than the block


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


def take_fingerprint(image: GreyImage, with_reduced: bool = True) -> Fingerprint:
    """The fingerprint of a grey image, uint8 (H, W), with the reduced image if `with_reduced`."""
    height, width = image.shape
    scale = WORKING_SIDE / (height * width) ** 0.5
    row = resize_by_area(image, THUMBNAIL_SIDE, THUMBNAIL_SIDE).astype(np.float64).ravel()
    row = row - row.mean()
    norm = float(np.linalg.norm(row))
    reduced = resize_by_area(image, max(1, round(width * scale)), max(1, round(height * scale)))
    return Fingerprint(
        shape=(height, width),
        digest=hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest(),
        thumbnail=(row / norm if norm > FLATTEST * THUMBNAIL_SIDE else 0 * row).astype(np.float32),
        reduced=reduced if with_reduced else None,
    )


def resize_by_area(image: NDArray[np.uint8] | FloatArray, width: int, height: int) -> FloatArray:
    """`image` (H, W) averaged over areas to (height, width)."""
    grey = Image.fromarray(image.astype(np.float32))
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX))


def similar_thumbnails(rows: FloatArray, least: float, most: int | None = None) -> tuple[IntArray, FloatArray]:
    """Find the thumbnails that correlate, in memory that does not grow with the number of pairs.

    Args:
        rows: Thumbnails (N, D) of unit norm, or zero.
        least: Least correlation.
        most: If given, each row is compared with no more than its `most` best-correlating others, and pairs of which
            neither is among those of the other are left out.

    Returns:
        Pairs (a < b), (pairs, 2), and their correlations (pairs,).
    """
    firsts, seconds, scores = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty(0, np.float32)]
    for first, second, score in _blocks(rows, least):
        chosen = slice(None) if most is None else best_of_each(first, score, most)
        firsts.append(first[chosen])
        seconds.append(second[chosen])
        scores.append(score[chosen])
    first, second, score = np.concatenate(firsts), np.concatenate(seconds), np.concatenate(scores)
    pairs, where = np.unique(np.sort(np.stack([first, second], axis=1), axis=1), axis=0, return_index=True)
    return pairs, score[where]


def _blocks(rows: FloatArray, least: float) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """(row, other row, correlation) of all that correlate at `least`, each pair from both sides, a block at a time."""
    if len(rows) < 2:
        return
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        product = rows[part] @ rows.T
        first, second = np.divmod(np.flatnonzero(product >= least - SLACK), len(rows))
        if len(first) > CROWDED * product.size:
            score = product[first, second]
        else:
            score = np.einsum("nd,nd->n", rows[begin + first], rows[second])
        first = first + begin
        chosen = (score >= least) & (first != second)
        yield first[chosen], second[chosen], score[chosen]


def best_of_each(owner: IntArray, score: FloatArray, most: int) -> IntArray:
    """Numbers of the `most` highest `score` (N,) of each `owner` (N,), in their order; of equal ones the first."""
    order = np.lexsort((-score, owner))
    sorted_owner = owner[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_owner, sorted_owner)
    return np.sort(order[rank < most])
