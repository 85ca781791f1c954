"""Grey-level co-occurrence texture maps, the second input of DE-ResUnet.

They are computed inside the network from the input image, so they always match the augmented image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import at_least_float32
from taichinet.models.blocks import without_autocast

GREY_LEVELS = 8
WINDOW = 5
TEXTURES = 4  # mean, standard deviation, contrast, dissimilarity


@torch.no_grad()
def texture_maps(image: Tensor) -> Tensor:
    """Compute four texture maps from grey-level co-occurrence matrices.

    Grey values are quantised to eight equal levels. A pair consists of a pixel (level i) and its right neighbour
    (level j; pixels of the last column are paired with themselves). p(i, j) is the number of pairs, not normalised, in
    a 5 x 5 window with 25 pairs; the image is mirrored at its border. As in the official code, the moments are taken
    over the 64 cells of i p(i, j): mean = sum(i p) / 64, standard deviation = sqrt(sum((i p - mean)^2)),
    contrast = sum((i - j)^2 p), dissimilarity = sum(|i - j| p).

    Args:
        image: (B, C, H, W) in [0, 1]. Several channels are averaged.

    Returns:
        Mean, standard deviation, contrast and dissimilarity, each divided by 255; (B, 4, H, W).
    """
    with without_autocast(image):
        grey = at_least_float32(image).mean(dim=1, keepdim=True) * 255
        level = (grey / (256 / GREY_LEVELS)).floor().clamp(0, GREY_LEVELS - 1)
        neighbour = torch.cat([level[..., 1:], level[..., -1:]], dim=-1)
        cells = GREY_LEVELS**2
        mean = window_sum(level) / cells
        # sum((i p - mean)^2) = sum(i^2 p^2) - 64 mean^2. One grey level at a time to limit memory: all cells at once
        # would need 64 maps per image.
        squares = torch.zeros_like(mean)
        columns = torch.arange(GREY_LEVELS, device=image.device, dtype=level.dtype).reshape(1, -1, 1, 1)
        for i in range(1, GREY_LEVELS):
            counts = window_sum(((level == i) & (neighbour == columns)).to(grey.dtype))
            squares = squares + i**2 * counts.square().sum(dim=1, keepdim=True)
        deviation = (squares - cells * mean.square()).clamp(min=0).sqrt()
        difference = level - neighbour
        maps = [mean, deviation, window_sum(difference.square()), window_sum(difference.abs())]
        return torch.cat(maps, dim=1) / 255


def window_sum(values: Tensor) -> Tensor:
    """Sum over the 5 x 5 window around each pixel, mirrored at the border; keeps the shape (B, C, H, W)."""
    padded = F.pad(values, (WINDOW // 2,) * 4, mode="reflect")
    return F.avg_pool2d(padded, WINDOW, stride=1) * WINDOW**2
