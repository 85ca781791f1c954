"""Decoder of CE-Net, also used by FAT-Net: upsampling bottleneck blocks and the output head."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field
from torch import nn

from taichinet.models.backbones import PretrainedSettings


class BottleneckUp(nn.Sequential):
    """Upsampling bottleneck block: (B, in, H, W) -> (B, out, 2H, 2W).

    1x1 convolution to in/4 channels, 3x3 transposed convolution with stride 2, 1x1 convolution; each is followed by
    BatchNorm and ReLU.
    """

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

    `lesion_prior` is the initial probability of lesion, set by the output bias. With the initialisation of the sources
    (0.5), the background pixels turn off all features of the head at the lesion. The output there is only its bias, and
    stays below 1/2 for hundreds of steps: see docs/fidelity.md.
    """

    lesion_prior: float = Field(default=0.1, gt=0, le=0.5, description="0.5: no special start of the output")

    def for_second_path(self) -> Self:
        """Settings without the lesion prior: the prior of the second path is `CouplingSettings.background_prior`."""
        return self.model_copy(update={"lesion_prior": 0.5})


class TransposedHead(nn.Sequential):
    """Output head from features at half resolution to logits: (B, C, H/2, W/2) -> (B, R, H, W)."""

    def __init__(self, channels: int, regions: int, lesion_prior: float) -> None:
        """Initialise the last bias to the logit of `lesion_prior`; 0.5 keeps PyTorch's default initialisation."""
        super().__init__(
            nn.ConvTranspose2d(channels, 32, kernel_size=4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, regions, kernel_size=3, padding=1),
        )
        if lesion_prior < 0.5:
            nn.init.constant_(self[-1].bias, math.log(lesion_prior / (1 - lesion_prior)))  # type: ignore[arg-type]
