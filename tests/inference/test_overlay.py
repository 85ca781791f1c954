"""The overlay of a prediction shows contour and box at every image size."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from taichinet.errors import DataError
from taichinet.inference.overlay import BOX, CONTOUR, LARGEST_SIDE, SMALLEST_SIDE, overlay


@pytest.mark.parametrize(("height", "width"), [(48, 64), (400, 560), (3000, 2400)])
def test_lines_are_at_the_mask_and_the_box_and_grow_with_the_image(height: int, width: int) -> None:
    pixels = np.full((height, width), 90, np.uint8)
    mask = np.zeros((height, width), bool)
    top, left, bottom, right = box = (height // 4, width // 4, height // 2, width // 2)
    mask[top:bottom, left:right] = True
    drawn = overlay(pixels, mask, box)
    assert SMALLEST_SIDE <= max(drawn.size) <= LARGEST_SIDE
    assert drawn.width / drawn.height == pytest.approx(width / height, rel=0.01)
    values = np.asarray(drawn).astype(int)
    middle = values[round(drawn.height * 3 / 8)]  # a row of pixels that crosses the contour and the box twice
    cyan = np.flatnonzero(np.abs(middle - CONTOUR).max(axis=1) < 40)
    yellow = np.flatnonzero(np.abs(middle - BOX).max(axis=1) < 40)
    near = max(drawn.size) / 60
    for position in (drawn.width / 4, drawn.width / 2):
        assert np.abs(cyan - position).min() < near
        assert np.abs(yellow - position).min() < near
    assert max(drawn.size) / 300 <= len(cyan) / 2 <= max(drawn.size) / 100
    assert values[round(drawn.height * 3 / 8), round(drawn.width * 3 / 8)].tolist() == [90, 90, 90]


def test_an_empty_mask_and_one_that_fills_the_image() -> None:
    pixels = np.full((600, 700, 3), 90, np.uint8)
    empty, full = np.zeros((600, 700), bool), np.ones((600, 700), bool)
    assert (np.asarray(overlay(pixels, empty)) == 90).all()
    edges = np.asarray(overlay(pixels, full, (0, 0, 600, 700)))
    for line in (edges[2], edges[-3], edges[:, 2], edges[:, -3]):
        assert (line != 90).any(axis=1).mean() > 0.95


def test_wrong_arrays_are_refused() -> None:
    pixels, mask = np.zeros((8, 9), np.uint8), np.zeros((8, 9), bool)
    with pytest.raises(DataError, match="expected uint8"):
        overlay(pixels.astype(np.float32), mask)
    with pytest.raises(DataError, match="expected bool of shape"):
        overlay(pixels, mask.T)
    with pytest.raises(DataError, match="not within an image"):
        overlay(pixels, mask, (0, 0, 9, 9))


def test_it_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, taichinet.inference.overlay; print(sorted({'torch', 'matplotlib', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
