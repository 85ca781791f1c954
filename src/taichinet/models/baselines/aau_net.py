"""AAU-Net (Chen et al., TMI 2023).

Paper: "AAU-Net: An Adaptive Attention U-Net for Breast Lesions Segmentation in Ultrasound Images".

Certain: the hybrid adaptive attention module (HAAM), the only part that the authors released. Its parameter formula
equals that of the released module. Inferred: how the modules are assembled. A U-Net stage has two convolutions and the
release states that each is replaced, so there are two modules per stage. The kernel sizes of the final fusion alternate
(1, 3, 1, 3, 1 in the encoder and 3, 1, 3, 1 in the decoder), as listed for a later network of the same authors. The
paper describes three parallel convolutions and additive fusion; the released module, which we follow, differs.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import ConvBlock, UpConv, deep_to_shallow, encode, level_widths
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import MAX_WIDTH, SIZE_MULTIPLE, BaselineSettings, check_input, refuse_single_image

KERNELS_DOWN, KERNELS_UP = (1, 3, 1, 3, 1), (3, 1, 3, 1)


class AAUNetSettings(BaselineSettings):
    """Options of an AAU-Net. The defaults are the most likely assembly: 48.98M parameters with RGB input."""

    width: int = Field(default=32, ge=1, le=MAX_WIDTH, description="channels of the first level")
    modules_per_stage: int = Field(default=2, ge=1, le=2, description="attention modules per encoder or decoder stage")
    up_convolution: bool = Field(default=False, description="a 3x3 convolution after each upsampling")


class ChannelAttention(nn.Module):
    """Weights a dilated 3x3 branch against a 5x5 branch, one weight per channel: (B, C, H, W) -> (B, f, H, W)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.dilated = ConvBlock(in_channels, channels, kernel=3, dilation=3)
        self.wide = ConvBlock(in_channels, channels, kernel=5)
        self.squeeze = nn.Sequential(nn.Linear(2 * channels, channels), nn.BatchNorm1d(channels), nn.ReLU(inplace=True))
        self.excite = nn.Linear(channels, channels)
        self.merge = ConvBlock(2 * channels, channels, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """Steps 1 to 3 of the module."""
        dilated, wide = self.dilated(features), self.wide(features)
        pooled = torch.cat([dilated, wide], dim=1).mean(dim=(-2, -1))
        alpha = torch.sigmoid(self.excite(self.squeeze(pooled)))[:, :, None, None]
        merged: Tensor = self.merge(torch.cat([alpha * dilated, (1 - alpha) * wide], dim=1))
        return merged


class HybridAdaptiveAttention(nn.Module):
    """HAAM: weights the channel attention against a convolution branch, one weight per pixel; no final ReLU.

    (B, C, H, W) -> (B, f, H, W) with 43 C f + (6 + 2 k^2) f^2 + 23 f + 1 parameters for fusion kernel k.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(in_channels, channels)
        self.spatial = nn.Sequential(
            ConvBlock(in_channels, channels, kernel=3), ConvBlock(channels, channels, kernel=1)
        )
        self.beta = nn.Conv2d(channels, 1, kernel_size=1)
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * channels, channels, kernel, padding=kernel // 2), nn.BatchNorm2d(channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Steps 4 to 6 of the module."""
        by_channel, by_pixel = self.channel(features), self.spatial(features)
        beta = torch.sigmoid(self.beta(torch.relu(by_channel + by_pixel)))
        fused: Tensor = self.fuse(torch.cat([beta * by_channel, (1 - beta) * by_pixel], dim=1))
        return fused


class AAUNet(nn.Module):
    """U-Net with HAAMs instead of convolutions: image (B, C, H, W) -> Prediction."""

    def __init__(self, settings: AAUNetSettings | None = None) -> None:
        """Build the network; if `settings` is None, with two modules per stage and one input channel."""
        super().__init__()
        self.settings = settings or AAUNetSettings()
        widths = level_widths(self.settings.width)
        inputs = (self.settings.in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(self._stage(i, o, k) for i, o, k in zip(inputs, widths, KERNELS_DOWN, strict=True))
        steps = deep_to_shallow(widths)
        self.ups = nn.ModuleList(
            UpConv(deep, shallow) if self.settings.up_convolution else nn.Upsample(scale_factor=2, mode="nearest")
            for deep, shallow in steps
        )
        self.decoder = nn.ModuleList(
            self._stage(shallow + (shallow if self.settings.up_convolution else deep), shallow, kernel)
            for (deep, shallow), kernel in zip(steps, KERNELS_UP, strict=True)
        )
        self.output = nn.Conv2d(self.settings.width, self.settings.num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1], H and W multiples of 16 -> Prediction with one path.

        Raises:
            SettingError: Wrong shape, or a training batch of one image: BatchNorm cannot normalise a single value.
        """
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        refuse_single_image(self, "AAU-Net", image)
        skips = encode(self.encoder, image)
        features = skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=True):
            features = stage(torch.cat([skips.pop(), up(features)], dim=1))
        return Prediction(positive=at_least_float32(self.output(features)))

    def _stage(self, in_channels: int, channels: int, kernel: int) -> nn.Sequential:
        inputs = (in_channels, *(channels,) * (self.settings.modules_per_stage - 1))
        return nn.Sequential(*(HybridAdaptiveAttention(i, channels, kernel) for i in inputs))


ENTRY = Entry(
    "AAU-Net",
    AAUNetSettings,
    AAUNet,
    "Chen et al., TMI 2023",
    "medium",
    Source(48_979_155, 124.48),
    note="Only its attention module was released; how the modules are assembled is inferred.",
)
