"""Convolution blocks shared by the U-Net based networks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.models.upsampling import UpsampledConv2d


class DoubleConv(nn.Sequential):
    """Two times [3x3 convolution with bias, BatchNorm, ReLU]: (B, in, H, W) -> (B, out, H, W)."""

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

    With a transposed convolution instead, the U-Net would have 7.76M parameters; the paper states 8.64M.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Identity(),  # keeps the parameter names of earlier versions, where upsampling was a separate layer
            UpsampledConv2d(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


def downsample(features: Tensor) -> Tensor:
    """2x2 max-pooling: (B, C, H, W) -> (B, C, H/2, W/2)."""
    return F.max_pool2d(features, kernel_size=2)


def level_widths(width: int) -> tuple[int, ...]:
    """Channels of the five levels, doubling from `width`: for 32, (32, 64, 128, 256, 512) as in Sec. III-A."""
    return tuple(width * 2**level for level in range(5))


def without_autocast(features: Tensor) -> AbstractContextManager[object]:
    """Context manager that disables autocast on the device of `features`; the meta device has no autocast."""
    if features.is_meta:
        return nullcontext()
    return torch.autocast(device_type=features.device.type, enabled=False)
