"""The decoder that CE-Net introduced and FAT-Net took over: bottleneck blocks that upsample, and the output head."""

from __future__ import annotations

from torch import nn


class BottleneckUp(nn.Sequential):
    """1x1 to a quarter, 3x3 transposed stride 2, 1x1: (B, in, H, W) -> (B, out, 2H, 2W); each with BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        hidden = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, hidden, kernel_size=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(hidden, hidden, kernel_size=3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, out_channels, kernel_size=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class TransposedHead(nn.Sequential):
    """Features at half size to logits: (B, C, H/2, W/2) -> (B, R, H, W)."""

    def __init__(self, channels: int, regions: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, 32, kernel_size=4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, regions, kernel_size=3, padding=1),
        )
