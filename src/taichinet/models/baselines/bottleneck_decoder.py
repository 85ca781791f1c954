"""The decoder that CE-Net introduced and FAT-Net took over: bottleneck blocks that upsample, and the output head."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field
from torch import nn

from taichinet.models.backbones import PretrainedSettings


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


class TransposedHeadSettings(PretrainedSettings):
    """Options of a network that ends with `TransposedHead`.

    `lesion_prior` is the share of the image that the output expects to be lesion before it has learned anything. With
    the sources' usual start (0.5) the background switches off all features of the head wherever the lesion is, the
    output there is its bias alone, and hundreds of steps pass below 1/2, see docs/fidelity.md.
    """

    lesion_prior: float = Field(default=0.1, gt=0, le=0.5, description="0.5: no special start of the output")

    def for_second_path(self) -> Self:
        """The usual start: the twin's own prior is the coupling's."""
        return self.model_copy(update={"lesion_prior": 0.5})


class TransposedHead(nn.Sequential):
    """Features at half size to logits: (B, C, H/2, W/2) -> (B, R, H, W)."""

    def __init__(self, channels: int, regions: int, lesion_prior: float) -> None:
        """The last bias starts at the logit of `lesion_prior`, and as torch has it where that is 0.5."""
        super().__init__(
            nn.ConvTranspose2d(channels, 32, kernel_size=4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, regions, kernel_size=3, padding=1),
        )
        if lesion_prior < 0.5:
            nn.init.constant_(self[-1].bias, math.log(lesion_prior / (1 - lesion_prior)))  # type: ignore[arg-type]
