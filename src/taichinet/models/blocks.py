"""Convolution blocks shared by the U-Net based networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.models.upsampling import UpsampledConv2d


class ConvBlock(nn.Sequential):
    """Convolution with padding that keeps the resolution, BatchNorm, ReLU: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int = 1, bias: bool = True) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=bias),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """Two times [3x3 convolution with bias, BatchNorm, ReLU]: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(*ConvBlock(in_channels, out_channels, 3), *ConvBlock(out_channels, out_channels, 3))


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


def resize(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear resizing to the height and width of `like`; nothing is computed if they are equal."""
    if features.shape[-2:] == like.shape[-2:]:
        return features
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation channel attention without biases; reduction 16, ReLU, then sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 1)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Multiply the features (B, C, H, W) by one weight per image and channel."""
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(features.mean(dim=(-2, -1))))))
        return features * weight[:, :, None, None]


def level_widths(width: int) -> tuple[int, ...]:
    """Channels of the five levels, doubling from `width`: for 32, (32, 64, 128, 256, 512) as in Sec. III-A."""
    return tuple(width * 2**level for level in range(5))


def deep_to_shallow(widths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Channels (input, output) of each upsampling step of a decoder, from the deepest level to the first."""
    return tuple(zip(widths[:0:-1], widths[-2::-1], strict=True))


def encode(levels: Iterable[nn.Module], image: Tensor, given: Sequence[Tensor] = ()) -> list[Tensor]:
    """Apply the levels of an encoder, shallow to deep, to an image (B, C, H, W), with max-pooling between them.

    Returns `given`, followed by the output of each level at 1, 1/2, 1/4, ... of the image resolution. `given` are the
    features of the levels that precede `levels`; with them, the image is not used.
    """
    features = list(given)
    for level in levels:
        features.append(level(downsample(features[-1]) if features else image))
    return features
