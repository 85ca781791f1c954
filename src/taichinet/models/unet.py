"""The sub-network U-Net of Sec. III-A and Fig. 3: 8.64M parameters at width 32.

Model 1 of Table I on its own; each path of TaiChiNet uses its `encode` and `decode` apart, because the two paths
exchange information at the bottleneck.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import DoubleConv, UpConv, downsample, level_widths
from taichinet.models.input_size import MAX_WIDTH, check_input
from taichinet.models.settings import BaselineSettings


class UNetSettings(BaselineSettings):
    """Options of a U-Net. The 3x3 output convolution is the reading that gives all three printed totals."""

    width: int = Field(default=32, ge=1, le=MAX_WIDTH, description="channels of the first level")
    output_kernel: Literal[1, 3] = 3


class UNetPath(nn.Module):
    """One encoder and decoder: image (B, C, H, W) -> logits (B, R, H, W); H and W multiples of 16."""

    def __init__(self, settings: UNetSettings, given: tuple[int, ...] = ()) -> None:
        """`given` are the channels of the first levels, where another path's encoder computes them for this one."""
        super().__init__()
        widths = level_widths(settings.width)
        own = widths[len(given) :]
        inputs = (given[-1] if given else settings.in_channels, *own[:-1])
        skips = (*given, *own[:-1])
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip(inputs, own, strict=True))
        deep_to_shallow = tuple(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(UpConv(deep, shallow) for deep, shallow in deep_to_shallow)
        self.decoder = nn.ModuleList(
            DoubleConv(skip + shallow, shallow)
            for skip, (_, shallow) in zip(reversed(skips), deep_to_shallow, strict=True)
        )
        self.output = nn.Conv2d(
            settings.width, settings.num_classes, settings.output_kernel, padding=settings.output_kernel // 2
        )

    def encode(self, image: Tensor, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """Features of the five levels, shallow to deep; the last is F (Eq. 1-2), (B, 16*width, H/16, W/16).

        `given` are those of the first levels, in the channels that the constructor was told.
        """
        features = list(given)
        for level in self.encoder:
            features.append(level(downsample(features[-1]) if features else image))
        return tuple(features)

    def decode(self, skips: tuple[Tensor, ...], deep: Tensor) -> Tensor:
        """Logits of O' (Eq. 4-5) from the skips of levels 1 to 4 and the (enhanced) deep features."""
        features = deep
        for skip, up, block in zip(reversed(skips), self.ups, self.decoder, strict=True):
            features = block(torch.cat([skip, up(features)], dim=1))
        logits: Tensor = self.output(features)
        return logits


class UNet(nn.Module):
    """The plain U-Net: UNet_p, Model 1 of Table I."""

    def __init__(self, settings: UNetSettings | None = None) -> None:
        """Build it from `settings` (the paper's network with one input channel where None)."""
        super().__init__()
        self.settings = settings or UNetSettings()
        self.path = UNetPath(self.settings)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels)
        features = self.path.encode(image)
        return Prediction(positive=at_least_float32(self.path.decode(features[:-1], features[-1])))
