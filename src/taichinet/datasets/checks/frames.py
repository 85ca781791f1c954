"""Frames: black borders around the scan, and the black corners of a fan-shaped one.

A frame wastes the network's input size and often reveals the device, and so the hospital.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from taichinet.datasets.checks.strokes import BoolMap

BLACK = 6  # grey level up to which a pixel shows nothing; receiver noise in BUSI's shadows is brighter
LIT_SHARE = 0.04  # share of a border's row that text and ticks may light


@dataclass(frozen=True)
class Frame:
    """Black borders in pixels, the share of the picture they cover, and that of black corners."""

    top: int
    bottom: int
    left: int
    right: int
    border_share: float
    corner_share: float


def find_frame(grey: NDArray[np.uint8]) -> Frame:
    """The frame of `grey` (H, W).

    Border: rows and columns from each side in which at most 4% of the pixels are lighter than BLACK; text in the border
    is borne with, a grey frame is missed. Corners: black beyond the borders that hangs together with a corner of the
    picture. Dark tissue or a deep shadow that is cut to true black counts as well: look before you crop.
    """
    lit = grey > BLACK
    height, width = grey.shape
    top, bottom = _depths(np.count_nonzero(lit, axis=1) / width)
    left, right = _depths(np.count_nonzero(lit, axis=0) / height)
    inner = lit[top : height - bottom, left : width - right]
    return Frame(
        top=top,
        bottom=bottom,
        left=left,
        right=right,
        border_share=1 - inner.size / lit.size,
        corner_share=_corner_area(~inner) / lit.size if inner.size else 0.0,
    )


def _depths(lit_share: NDArray[np.float64]) -> tuple[int, int]:
    """How many rows at the beginning and at the end are black; all and none where every row is."""
    lit = np.flatnonzero(lit_share > LIT_SHARE)
    return (int(lit[0]), int(len(lit_share) - 1 - lit[-1])) if lit.size else (len(lit_share), 0)


def _corner_area(black: BoolMap) -> int:
    """Pixels of the black pieces (H, W) that hold a corner."""
    if not black[[0, 0, -1, -1], [0, -1, 0, -1]].any():
        return 0
    labelled, _ = ndimage.label(black)
    corners = {int(labelled[row, column]) for row in (0, -1) for column in (0, -1)} - {0}
    return int(np.bincount(labelled.ravel())[list(corners)].sum())
