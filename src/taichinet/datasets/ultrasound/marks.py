"""Burnt-in marks: two calipers, a line of digits and a ruler, drawn as one product of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

PLACES = 20  # uniform numbers per image
DIGITS_PER_LINE = 6
REFERENCE = 224  # marks have the size that they have in an image of this side
# Rows of 3 x 5 pixels of the digits 0 to 9.
_DIGITS = (
    *("111101101101111", "010110010010111", "111001111100111", "111001111001111", "101101111001001"),
    *("111100111001111", "111100111101111", "111001010010010", "111101111101111", "111101111001111"),
)


def digit_pixels() -> Tensor:
    """The digits 0 to 9 as (10, 5, 4) pixels 0 or 1; the last column is the gap to the next digit."""
    pixels = torch.tensor([[int(pixel) for pixel in digit] for digit in _DIGITS], dtype=torch.float32)
    return torch.nn.functional.pad(pixels.view(10, 5, 3), (0, 1))


def draw_marks(image: Tensor, grey: Tensor, places: Tensor, digits: Tensor) -> Tensor:
    """Draw calipers, digits or both, and on a third of the images also a ruler.

    All marks consist of axis-parallel rectangles. A rectangle is the product of a column (H) and a row (W), and the sum
    of K of them is the matrix product of (H, K) and (K, W).

    Args:
        image: (n, C, H, W).
        grey: Grey value of the marks, (n, 1, 1, 1).
        places: Uniform numbers, (n, PLACES).
        digits: `digit_pixels` on the same device.

    Returns:
        The images with marks, (n, C, H, W).
    """
    height, width = image.shape[-2:]
    y = (torch.arange(height, device=image.device) + 0.5) * (REFERENCE / height)
    x = (torch.arange(width, device=image.device) + 0.5) * (REFERENCE / width)
    u = places[:, :, None]  # (n, PLACES, 1)
    calipers = _calipers(y, x, u[:, 2:8])
    line = _line_of_digits(y, x, u[:, 8:11], (places[:, 11 : 11 + DIGITS_PER_LINE] * 10).long(), digits)
    ruler = _ruler(y, x, u[:, 17:20])
    used = ((calipers, u[:, :1] < 2 / 3), (line, u[:, :1] > 1 / 3), (ruler, u[:, 1:2] < 1 / 3))
    columns = torch.cat([column * drawn for (column, _), drawn in used], dim=1)
    rows = torch.cat([row for (_, row), _ in used], dim=1)
    covered = (columns.transpose(1, 2) @ rows).clamp(max=1)[:, None]
    return image + covered * (grey - image)


def _band(position: Tensor, centre: Tensor, half: Tensor | float) -> Tensor:
    """Share of each pixel within `half` pixels of `centre`."""
    return (half + 0.5 - (position - centre).abs()).clamp(0, 1)


def _calipers(y: Tensor, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Two crosses of two rectangles each: (n, 4, H) and (n, 4, W)."""
    arm, half = 3 + 3 * u[:, 4:5], 0.4 + 0.4 * u[:, 5:6]
    columns, rows = [], []
    for first in (0, 2):
        centre_y, centre_x = REFERENCE * u[:, first : first + 1], REFERENCE * u[:, first + 1 : first + 2]
        columns += [_band(y, centre_y, half), _band(y, centre_y, arm)]
        rows += [_band(x, centre_x, arm), _band(x, centre_x, half)]
    return torch.cat(columns, dim=1), torch.cat(rows, dim=1)


def _line_of_digits(y: Tensor, x: Tensor, u: Tensor, numbers: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
    """One rectangle pattern for each of the five pixel rows of the digits: (n, 5, H) and (n, 5, W)."""
    pixel = 1 + u[:, 2:3]
    top, left = (REFERENCE - 5 * pixel) * u[:, :1], (REFERENCE - 4 * DIGITS_PER_LINE * pixel) * u[:, 1:2]
    centres = top + (torch.arange(5, device=y.device)[:, None] + 0.5) * pixel
    pattern = digits[numbers].transpose(1, 2).flatten(2)  # (n, 5, 4 * DIGITS_PER_LINE)
    index = ((x - left) / pixel).floor()
    inside = (index >= 0) & (index < pattern.shape[2])
    row = pattern.gather(2, index.clamp(0, pattern.shape[2] - 1).long().expand(-1, 5, -1))
    return _band(y, centres, (pixel - 1) / 2), row * inside


def _ruler(y: Tensor, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Ticks at the left or right edge: (n, 1, H) and (n, 1, W)."""
    spacing = 8 + 14 * u[:, :1]
    ticks = _band(torch.remainder(y + spacing * u[:, 1:2], spacing), spacing / 2, 0.5)
    edge = torch.where(u[:, 2:3] < 0.5, 4 + 8 * u[:, 2:3], REFERENCE - 12 + 8 * u[:, 2:3])
    return ticks, _band(x, edge, 2.0)
