"""Grey-level co-occurrence maps, the texture that DE-ResUnet reads beside the image.

They are computed inside the network from the image that it is given, so augmentation can never disagree with them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import at_least_float32

GREY_LEVELS = 8
WINDOW = 5
TEXTURES = 4  # mean, standard deviation, contrast, dissimilarity


@torch.no_grad()
def texture_maps(image: Tensor) -> Tensor:
    """Images (B, C, H, W) in [0, 1] -> (B, 4, H, W): mean, standard deviation, contrast, dissimilarity, over 255.

    Eight equal grey levels; the pair of a pixel is itself (level i) and its right neighbour (j; the last column is its
    own); p(i, j) counts the 25 pairs in 5 x 5 pixels without normalisation, the picture being mirrored at its border.
    As the official recipe has it, the moments are taken over the 64 cells of i p(i, j):
    mean = sum(i p) / 64, deviation = sqrt(sum((i p - mean)^2)), contrast = sum((i - j)^2 p),
    dissimilarity = sum(|i - j| p). Several channels are averaged to grey first.
    """
    with torch.autocast(device_type=image.device.type, enabled=False):
        grey = at_least_float32(image).mean(dim=1, keepdim=True) * 255
        level = (grey / (256 / GREY_LEVELS)).floor().clamp(0, GREY_LEVELS - 1)
        neighbour = torch.cat([level[..., 1:], level[..., -1:]], dim=-1)
        cells = GREY_LEVELS**2
        mean = window_sum(level) / cells
        # sum((i p - mean)^2) = sum(i^2 p^2) - 64 mean^2; one grey level at a time, or the table would be 64 images.
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
    """Sum over 5 x 5 pixels around each, mirrored at the border; (B, C, H, W) stays its shape."""
    padded = F.pad(values, (WINDOW // 2,) * 4, mode="reflect")
    return F.avg_pool2d(padded, WINDOW, stride=1) * WINDOW**2
