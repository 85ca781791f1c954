"""Transformations of the grey values, in the order in which they arise in a scanner.

Each function maps images (n, C, H, W) in [0, 1], the amount of each image (n, 1, 1, 1), further uniform numbers
(n, PLACES) and the textures to new images, whose values are then limited to [0, 1]. Coordinates are in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from taichinet.datasets.ultrasound.marks import REFERENCE, digit_pixels, draw_marks

_FIELD = 256  # side of the noise of an epoch, in grains


@dataclass(frozen=True)
class Textures:
    """Textures of an epoch: `noise` (1, 1, 256, 256) with mean 0 and variance 1, and the digits of the marks."""

    noise: Tensor
    digits: Tensor

    def to(self, device: torch.device) -> Textures:
        """Copy to `device`."""
        return Textures(self.noise.to(device), self.digits.to(device))


def draw_textures(generator: torch.Generator) -> Textures:
    """Draw the noise of an epoch on the CPU. Neighbouring values are correlated, so that it can be enlarged."""
    noise = torch.randn(_FIELD, _FIELD, generator=generator)
    for axis in (0, 1):
        noise = (noise.roll(1, axis) + 2 * noise + noise.roll(-1, axis)) / math.sqrt(6)
    return Textures(noise[None, None], digit_pixels())


def _axes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres in [-1, 1]: y (1, 1, H, 1) and x (1, 1, 1, W)."""
    y, x = (
        (torch.arange(side, device=image.device, dtype=torch.float32) + 0.5) * (2 / side) - 1
        for side in image.shape[-2:]
    )
    return y.view(1, 1, -1, 1), x.view(1, 1, 1, -1)


def shadow(image: Tensor, remaining: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Darken a strip that starts at a random point, widens with depth and may be tilted; its edges are soft."""
    y, x = _axes(image)
    u = places[:, :, None, None, None].unbind(1)
    start_y, start_x = 1.4 * u[0] - 0.9, 2 * u[1] - 1
    half_width, spread, tilt = 0.05 + 0.25 * u[2], 0.15 * u[3], 0.3 * (u[4] - 0.5)
    softness = 0.08 + 0.2 * u[5]
    depth = y - start_y
    below = (depth / (2 * softness)).clamp(0, 1)
    across = (half_width + spread * depth.clamp(min=0) - (x - start_x - tilt * depth).abs()) / softness
    return image * (1 - (1 - remaining) * below * (across + 0.5).clamp(0, 1))


def speckle(image: Tensor, deviation: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Multiply by correlated noise of mean 1, cut from the noise of the epoch at a random position and enlarged."""
    grain_y, grain_x = 1 + places[:, 0], 1 + 2 * places[:, 1]  # in pixels of an image of 224 px
    scale_y, scale_x = (REFERENCE / _FIELD / grain for grain in (grain_y, grain_x))
    shift_y, shift_x = (1 - scale_y) * (2 * places[:, 2] - 1), (1 - scale_x) * (2 * places[:, 3] - 1)
    zero = torch.zeros_like(scale_x)
    matrix = torch.stack([scale_x, zero, shift_x, zero, scale_y, shift_y], dim=1).view(-1, 2, 3)
    count, _, height, width = image.shape
    grid = F.affine_grid(matrix, [count, 1, height, width], align_corners=False)
    noise = F.grid_sample(textures.noise.expand(count, -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return image * (1 + deviation * noise)


def depth_gain(image: Tensor, factor: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Multiply by `factor` at the bottom, its inverse at the top, and 1 in the middle."""
    return image * factor ** _axes(image)[0]


def gain(image: Tensor, factor: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Multiply by `factor`."""
    return image * factor


def contrast(image: Tensor, exponent: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Raise to the power `exponent`."""
    return image**exponent


def blur(image: Tensor, weight: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Mix with the image smoothed by a triangular window of five pixels; a negative weight sharpens."""
    smooth = image
    for _ in range(2):
        smooth = F.avg_pool2d(smooth, 3, stride=1, padding=1, count_include_pad=False)
    return image + weight * (smooth - image)


def marks(image: Tensor, grey: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Draw burnt-in marks."""
    return draw_marks(image, grey, places, textures.digits)


def resolution(image: Tensor, share: Tensor, places: Tensor, textures: Textures) -> Tensor:
    """Interpolate between the image and its reductions to a half and a quarter, according to the logarithm of `share`.

    The exact reduction would have another shape for each image.
    """
    size = image.shape[-2:]
    level = -torch.log2(share)
    half = F.avg_pool2d(image, 2)
    quarter = F.avg_pool2d(half, 2)
    return (
        (1 - level).clamp(min=0) * image
        + (1 - (level - 1).abs()) * F.interpolate(half, size=size, mode="bilinear")
        + (level - 1).clamp(min=0) * F.interpolate(quarter, size=size, mode="bilinear")
    )


Appearance = Callable[[Tensor, Tensor, Tensor, Textures], Tensor]
# By the name of the setting, in the order in which they are applied.
APPEARANCES: dict[str, Appearance] = {
    "shadow": shadow,
    "speckle": speckle,
    "depth_gain": depth_gain,
    "gain": gain,
    "contrast": contrast,
    "blur": blur,
    "marks": marks,
    "resolution": resolution,
}
