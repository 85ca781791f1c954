"""U-Net-lite: a narrow U-Net decoder on an EfficientNet-lite encoder. Our design, not a network of the paper.

The decoder ends at half of the image resolution, and its logits are resized: a stage at full resolution would be the
most expensive one. The same path is used twice in TaiChiNet-lite (`taichinet/lite.py`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import ConvBlock, UpConv, resize
from taichinet.models.efficientnet_lite import SIZE_MULTIPLE, EfficientNetLite, EncoderSettings
from taichinet.models.entry import Entry, Source
from taichinet.models.presence_head import PresenceHead, gated
from taichinet.models.settings import MAX_WIDTH, BaselineSettings, check_input, refuse_single_image
from taichinet.models.unet import EncoderDecoder

# Channels of the decoder at 1/32 (the bottleneck), 1/16, 1/8, 1/4 and 1/2 of the image resolution, in decoder widths.
DECODER = (8, 6, 4, 2, 1)


class LiteSettings(EncoderSettings):
    """Options of the networks on EfficientNet-lite.

    Attributes:
        decoder_width: Channels of the decoder at half resolution; the deeper steps have 2, 4 and 6, F 8 times as many.
        output_stride: Resolution of the logits before resizing: 2, half of the image resolution, or 1.
        presence_head: Whether features at 1/16 of the image resolution decide if the image shows a lesion at all.
    """

    decoder_width: int = Field(default=16, ge=2, le=MAX_WIDTH, multiple_of=2, description="channels at half resolution")
    output_stride: Literal[1, 2] = Field(default=2, description="image resolution divided by that of the decoder")
    presence_head: bool = Field(default=False, description="decide from the whole image whether it shows a lesion")


class UNetLiteSettings(LiteSettings, BaselineSettings):
    """Options of a U-Net-lite."""


class LitePath(EncoderDecoder):
    """Encoder, 1x1 projection to F, and decoder: image (B, C, H, W) -> logits (B, R, H/s, W/s), s the output stride."""

    size_multiple = SIZE_MULTIPLE

    def __init__(self, settings: LiteSettings, given: tuple[int, ...] = ()) -> None:
        """Build the path; `given` are the channels of the encoder levels if the other path has the encoder."""
        super().__init__()
        encoder = nn.ModuleList() if given else EfficientNetLite(settings)
        self.encoder, self.given = encoder, len(given)
        self.channels = encoder.channels if isinstance(encoder, EfficientNetLite) else given
        *skips, deepest = self.channels
        widths = tuple(factor * settings.decoder_width for factor in DECODER)
        self.deep_channels = widths[0]
        self.bottleneck = ConvBlock(deepest, self.deep_channels, kernel=1)
        self.ups = nn.ModuleList(UpConv(deep, shallow) for deep, shallow in pairwise(widths))
        self.decoder = nn.ModuleList(
            ConvBlock(skip + width, width, kernel=3) for skip, width in zip(reversed(skips), widths[1:], strict=True)
        )
        if settings.output_stride == 1:
            self.decoder[-1] = nn.Sequential(self.decoder[-1], UpConv(widths[-1], widths[-1]))
        self.output = nn.Conv2d(widths[-1], settings.num_classes, kernel_size=3, padding=1)
        has_head = settings.presence_head and not given
        self.presence_head = PresenceHead(self.channels[-2], settings.num_classes) if has_head else None

    @property
    def deepest(self) -> nn.Module:
        """The projection whose output is F."""
        return self.bottleneck

    def encode(self, image: Tensor, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """Features of the five encoder levels, and F (B, 8 * decoder_width, H/32, W/32).

        Raises:
            SettingError: A training batch of one image of 32 x 32 pixels, which BatchNorm cannot normalise.
        """
        if image.shape[-2:] == (SIZE_MULTIPLE, SIZE_MULTIPLE):
            refuse_single_image(self, f"EfficientNet-lite with images of {SIZE_MULTIPLE} px", image)
        features = list(given)
        for level in self.encoder:
            features.append(level(features[-1] if features else image))
        return (*features, self.bottleneck(features[-1]))

    def presence(self, skips: tuple[Tensor, ...]) -> Tensor | None:
        """Logits that the image shows each region, (B, R); `skips` are the features of the encoder levels."""
        return None if self.presence_head is None else self.presence_head(skips[-2])

    def decode(self, skips: tuple[Tensor, ...], deep: Tensor) -> Tensor:
        """Logits (B, R, H/s, W/s); `skips` are the features of the encoder levels, of which the last is not used."""
        return super().decode(skips[:-1], deep)


class UNetLite(nn.Module):
    """A U-Net on an EfficientNet-lite encoder: image (B, C, H, W) -> Prediction; H and W are multiples of 32."""

    def __init__(self, settings: UNetLiteSettings | None = None) -> None:
        """Build the network; if `settings` is None, EfficientNet-lite0, one input channel and random weights.

        Raises:
            SettingError: ImageNet weights are selected, but their package is not installed.
            WeightsError: Its file cannot be read or does not fit the encoder.
        """
        super().__init__()
        self.settings = settings or UNetLiteSettings()
        self.path = LitePath(self.settings)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        *skips, deep = self.path.encode(image)
        presence = self.path.presence(tuple(skips))
        logits = gated(at_least_float32(self.path.decode(tuple(skips), deep)), presence)
        return Prediction(positive=resize(logits, like=image), presence=presence)


ENTRY = Entry(
    "U-Net-lite",
    UNetLiteSettings,
    UNetLite,
    "ours, on EfficientNet-lite0 (Tan and Le, ICML 2019)",
    "high",
    Source(3_450_865, 1.48),
    note="Our design, not from a paper: the encoder of TaiChiNet-lite with one decoder.",
    size_multiple=SIZE_MULTIPLE,
    depthwise=True,
)
