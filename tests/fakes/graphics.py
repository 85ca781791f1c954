"""Scanner graphics (crosses, dots, lines, letters, ticks, colour) on synthetic speckle. Positions are (row, column)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

GreyImage = NDArray[np.uint8]

LETTERS = {  # five rows of a 4-pixel font
    "L": ("#...", "#...", "#...", "#...", "####"),
    "T": ("####", ".##.", ".##.", ".##.", ".##."),
    "H": ("#..#", "#..#", "####", "#..#", "#..#"),
    "I": (".##.", ".##.", ".##.", ".##.", ".##."),
}


def tissue(height: int = 160, width: int = 220, seed: int = 0) -> GreyImage:
    """Layered grey with speckle that is blurred most across the beam, and bright fibres across the beam."""
    rng = np.random.default_rng(seed)
    rows = np.mgrid[:height, :width][0]
    base = 70 + 15 * np.sin(rows / 11) + 150 * gaussian_filter(rng.standard_normal((height, width)), (2, 5))
    for _ in range(4):  # fibres, bright and thin
        row, column = int(rng.integers(10, 50)), int(rng.integers(10, width // 2))
        base[row : row + 2, column : column + width // 4] += 90
    speckle = 0.8 + 1.5 * np.abs(gaussian_filter(rng.standard_normal((height, width)), (1, 2.5)))
    return np.clip(gaussian_filter(base * speckle, (0.5, 1.2)), 12, 235).astype(np.uint8)


def cross(image: GreyImage, row: int, column: int, arm: int = 6) -> None:
    image[row - arm : row + arm + 1, column : column + 2] = 255
    image[row : row + 2, column - arm : column + arm + 1] = 255


def dots(image: GreyImage, row: int, column: int, count: int = 12, step: tuple[int, int] = (1, 5)) -> None:
    for number in range(count):
        top, left = row + number * step[0], column + number * step[1]
        image[top : top + 2, left : left + 2] = 255


def word(image: GreyImage, text: str, row: int, column: int, size: int = 3) -> None:
    """`text` in white on a dark ground, letters of 5 x 4 cells of `size` pixels high and 1 pixel wide each."""
    for position, letter in enumerate(text):
        left = column + 9 * position
        image[row - 2 : row + 5 * size + 2, left - 3 : left + 8] //= 3
        for cells_down, cells in enumerate(LETTERS[letter]):
            for cells_right, cell in enumerate(cells):
                if cell == "#":
                    image[row + size * cells_down : row + size * (cells_down + 1), left + cells_right] = 255


def upright_line(image: GreyImage, column: int, top: int, bottom: int) -> None:
    image[top:bottom, column : column + 2] = 255


def ticks(image: GreyImage, column: int, top: int, count: int = 7, step: int = 20) -> None:
    for number in range(count):
        image[top + step * number : top + step * number + 2, column : column + 3] = 255


def in_colour(image: GreyImage, box: tuple[int, int, int, int]) -> GreyImage:
    """`image` as RGB with a red rectangle (top, left, height, width), as Doppler has."""
    rgb = np.repeat(image[..., None], 3, axis=2)
    top, left, height, width = box
    rgb[top : top + height, left : left + width] = (220, 40, 20)
    return rgb
