"""U-Net on an encoder from timm. Our design, after the common U-Net of segmentation_models.pytorch.

The decoder has a step for every halving of the resolution: those without a level of the encoder have no skip
connection. The same path is used twice in the TaiChiNet on an encoder from timm (`taichinet/timm.py`).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.backbones import PRETRAINED_HELP
from taichinet.models.blocks import ConvBlock, DoubleConv, UpConv
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import MAX_WIDTH, BaselineSettings, NetworkSettings, check_input, refuse_single_image
from taichinet.models.timm_encoder import TimmEncoder, encoder_levels
from taichinet.models.unet import EncoderDecoder

MOST_WIDTHS = 16  # channels of the deepest steps of the decoder, in decoder widths


class TimmSettings(NetworkSettings):
    """Options of a network with an encoder from timm."""

    encoder: str = Field(
        default="resnet18",
        min_length=1,
        max_length=100,
        description="encoder: a network of timm with features at several scales, e.g. resnet34, efficientnet_b0, "
        "convnext_tiny",
    )
    pretrained: str | None = Field(default=None, description=PRETRAINED_HELP)
    decoder_width: int = Field(
        default=16,
        ge=2,
        le=MAX_WIDTH,
        description="channels of the decoder at image resolution; twice as many at each lower one, at most 16 times",
    )

    @property
    def size_multiple(self) -> int:
        """The reduction of the deepest level of the encoder."""
        return max(encoder_levels(self.encoder))


class UNetTimmSettings(TimmSettings, BaselineSettings):
    """Options of a U-Net on an encoder from timm."""


class TimmPath(EncoderDecoder):
    """Encoder, 1x1 projection to F, and decoder: image (B, C, H, W) -> logits (B, R, H, W)."""

    def __init__(self, settings: TimmSettings, given: tuple[int, ...] = ()) -> None:
        """Build the path; `given` are the channels of the encoder levels if the other path has the encoder."""
        super().__init__()
        encoder = None if given else TimmEncoder(settings.encoder, settings.in_channels, settings.pretrained)
        self.encoder = nn.ModuleList() if encoder is None else nn.ModuleList([encoder])
        levels = encoder_levels(settings.encoder)
        self.given, self.channels, self.size_multiple = len(given), tuple(levels.values()), max(levels)
        resolutions = [2**step for step in range(max(levels).bit_length() - 1, -1, -1)]  # deep to shallow
        widths = [settings.decoder_width * min(resolution, MOST_WIDTHS) for resolution in resolutions]
        self.deep_channels = widths[0]
        self.bottleneck = ConvBlock(levels[max(levels)], self.deep_channels, kernel=1)
        self.ups = nn.ModuleList(UpConv(deep, shallow) for deep, shallow in pairwise(widths))
        self.has_skip = tuple(resolution in levels for resolution in resolutions[1:])
        self.decoder = nn.ModuleList(
            DoubleConv(width + levels.get(resolution, 0), width)
            for resolution, width in zip(resolutions[1:], widths[1:], strict=True)
        )
        self.output = nn.Conv2d(widths[-1], settings.num_classes, kernel_size=3, padding=1)

    @property
    def deepest(self) -> nn.Module:
        """The projection whose output is F."""
        return self.bottleneck

    def encode(self, image: Tensor, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """Features of the encoder levels, and F, (B, 16 * decoder_width, H/32, W/32) for most encoders.

        Raises:
            SettingError: A training batch of one image with one pixel at the deepest level, which BatchNorm cannot
                normalise.
        """
        if image.shape[-2:] == (self.size_multiple, self.size_multiple):
            refuse_single_image(self, f"An encoder with images of {self.size_multiple} px", image)
        features = given if given else self.encoder[0](image)
        return (*features, self.bottleneck(features[-1]))

    def decode(self, skips: tuple[Tensor, ...], deep: Tensor) -> Tensor:
        """Logits (B, R, H, W); `skips` are the features of the encoder levels, of which the last is not used."""
        features, remaining = deep, list(skips[:-1])
        for up, block, has_skip in zip(self.ups, self.decoder, self.has_skip, strict=True):
            features = up(features)
            features = block(torch.cat([remaining.pop(), features], dim=1) if has_skip else features)
        logits: Tensor = self.output(features)
        return logits


class UNetTimm(nn.Module):
    """A U-Net on an encoder from timm: image (B, C, H, W) -> Prediction."""

    def __init__(self, settings: UNetTimmSettings | None = None) -> None:
        """Build the network; if `settings` is None, with a ResNet-18, one input channel and random weights.

        Raises:
            SettingError: There is no such encoder, or the file of its weights does not exist.
            WeightsError: The file cannot be read or does not fit the encoder.
        """
        super().__init__()
        self.settings = settings or UNetTimmSettings()
        self.path = TimmPath(self.settings)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels, self.path.size_multiple)
        *skips, deep = self.path.encode(image)
        return Prediction(positive=at_least_float32(self.path.decode(tuple(skips), deep)))


ENTRY = Entry(
    "U-Net on timm",
    UNetTimmSettings,
    UNetTimm,
    "ours, on any encoder of timm (ResNet-18 by default)",
    "high",
    Source(14_658_369, 9.20),
    note="Our design, not from a paper: encoder of options.encoder; the numbers are those of ResNet-18.",
    size_multiple=32,
)
