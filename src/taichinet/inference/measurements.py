"""Measurements of predictions in addition to areas: entropy of the probability, diameters in mm. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taichinet.runner import label_components

_DIRECTIONS = 360  # over 180 degrees: the longest diameter is underestimated by at most 1e-5 of its length


def entropy(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy of the decision between lesion and background in bits: 0 for probability 0 or 1, and 1 for 0.5.

    Args:
        probability: Probability of lesion, float32 of any shape.

    Returns:
        float32 of the same shape, in [0, 1].
    """
    values = np.asarray(probability, dtype=np.float64)
    parts = (values, 1 - values)
    # The limit of p log p for p = 0 is 0.
    total = sum(-part * np.log2(part, where=part > 0, out=np.zeros_like(part)) for part in parts)
    return np.asarray(total, dtype=np.float32)


def diameters(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[float, float] | None:
    """The longest diameter of the largest component of a mask, and its extent perpendicular to it.

    Args:
        mask: bool (H, W).
        spacing: Height and width of a pixel in mm.

    Returns:
        Both lengths in mm, between outer corners of pixels; None for an empty mask.
    """
    if not mask.any():
        return None
    labels = label_components(mask, diagonal=True)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # the background
    largest = labels == int(sizes.argmax())
    rows = np.flatnonzero(largest.any(axis=1))
    left = largest[rows].argmax(axis=1)
    right = mask.shape[1] - largest[rows, ::-1].argmax(axis=1)
    # The corners of the first and last pixel of each row include all corners of the convex hull.
    corners = np.concatenate([np.stack([y, x], 1) for y in (rows, rows + 1) for x in (left, right)]) * spacing
    angles = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    extents = np.ptp(corners @ np.stack([np.sin(angles), np.cos(angles)]), axis=0)
    longest = int(extents.argmax())
    across = (longest + _DIRECTIONS // 2) % _DIRECTIONS
    return float(extents[longest]), float(extents[across])
