"""The convolution blocks that every U-Net of this project is made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.models.upsampling import UpsampledConv2d


class DoubleConv(nn.Sequential):
    """Twice [3x3 convolution with bias, BatchNorm, ReLU]: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class UpConv(nn.Sequential):
    """Nearest x2 upsampling, 3x3 convolution, BatchNorm, ReLU: (B, in, H, W) -> (B, out, 2H, 2W).

    A transposed convolution instead would give 7.76M parameters where the paper prints 8.64M.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Identity(),  # weights are stored under the names they had when upsampling was a layer of its own
            UpsampledConv2d(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


def downsample(features: Tensor) -> Tensor:
    """2x2 max-pooling: (B, C, H, W) -> (B, C, H/2, W/2)."""
    return F.max_pool2d(features, kernel_size=2)


def level_widths(width: int) -> tuple[int, ...]:
    """Channels of the five levels, doubling from `width`: 32 -> (32, 64, 128, 256, 512) as in Sec. III-A."""
    return tuple(width * 2**level for level in range(5))
