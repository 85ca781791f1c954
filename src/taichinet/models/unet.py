"""The U-Net sub-network of Sec. III-A and Fig. 3: 8.64M parameters at width 32.

It is used as Model 1 of Table I and as each path of TaiChiNet. TaiChiNet calls `encode` and `decode` separately,
because the two paths exchange information at the bottleneck.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import DoubleConv, UpConv, deep_to_shallow, encode, level_widths
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import MAX_WIDTH, SIZE_MULTIPLE, BaselineSettings, check_input


class UNetSettings(BaselineSettings):
    """Options of a U-Net. With a 3x3 output convolution, all three parameter counts agree with those in the paper."""

    width: int = Field(default=32, ge=1, le=MAX_WIDTH, description="channels of the first level")
    output_kernel: Literal[1, 3] = Field(default=3, description="kernel of the output convolution")


class EncoderDecoder(nn.Module):
    """An encoder and a U-Net decoder, as one network or as a path of a TaiChiNet.

    Attributes:
        encoder: Levels of the encoder that are not given by the other path.
        ups: Upsampling steps of the decoder, deep to shallow.
        decoder: Blocks of the decoder after each concatenation.
        output: The convolution whose output are the logits.
        deep_channels: Channels of the deepest features F.
        given: Number of encoder levels that the other path computes.
        size_multiple: Height and width of images must be multiples of this number of pixels.
    """

    encoder: nn.ModuleList
    ups: nn.ModuleList
    decoder: nn.ModuleList
    output: nn.Conv2d
    deep_channels: int
    given: int
    size_multiple = SIZE_MULTIPLE

    @property
    def deepest(self) -> nn.Module:
        """The layer whose output is F."""
        return self.encoder[-1]

    def encode(self, image: Tensor, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """Features of all levels, shallow to deep, for an image (B, C, H, W); the last is F of Eq. 1-2.

        `given` are the features of the first levels from the other path; then, the image is not used.
        """
        raise NotImplementedError

    def presence(self, skips: tuple[Tensor, ...]) -> Tensor | None:
        """Logits that the image shows each region at all, (B, R); None without presence head.

        `skips` are the features of all levels but the last, shallow to deep.
        """
        return None

    def decode(self, skips: tuple[Tensor, ...], deep: Tensor) -> Tensor:
        """Logits of O' (Eq. 4-5), (B, R, H, W) or at the resolution of the last step of the decoder.

        `skips` are the features of all levels but the last, shallow to deep; `deep` is F, or F' after cross-attention.
        """
        features = deep
        for skip, up, block in zip(reversed(skips), self.ups, self.decoder, strict=True):
            features = block(torch.cat([skip, up(features)], dim=1))
        logits: Tensor = self.output(features)
        return logits


class UNetPath(EncoderDecoder):
    """U-Net encoder and decoder: image (B, C, H, W) -> logits (B, R, H, W); H and W are multiples of 16."""

    def __init__(self, settings: UNetSettings, given: tuple[int, ...] = ()) -> None:
        """Build the encoder and decoder.

        `given` are the channels of the first encoder levels if the encoder of the other path computes them. This
        encoder then has only the remaining levels.
        """
        super().__init__()
        widths = level_widths(settings.width)
        self.deep_channels, self.given = widths[-1], len(given)
        own = widths[len(given) :]
        inputs = (given[-1] if given else settings.in_channels, *own[:-1])
        skips = (*given, *own[:-1])
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip(inputs, own, strict=True))
        steps = deep_to_shallow(widths)
        self.ups = nn.ModuleList(UpConv(deep, shallow) for deep, shallow in steps)
        self.decoder = nn.ModuleList(
            DoubleConv(skip + shallow, shallow) for skip, (_, shallow) in zip(reversed(skips), steps, strict=True)
        )
        self.output = nn.Conv2d(
            settings.width, settings.num_classes, settings.output_kernel, padding=settings.output_kernel // 2
        )

    def encode(self, image: Tensor, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """Features of the five encoder levels, shallow to deep, for an image (B, C, H, W).

        The last is F of Eq. 1-2, (B, 16 * width, H/16, W/16). `given` are the features of the first levels from the
        other path, with the channels given to the constructor; then, the image is not used.
        """
        return tuple(encode(self.encoder, image, given))


class UNet(nn.Module):
    """The U-Net baseline: UNet_p, Model 1 of Table I."""

    def __init__(self, settings: UNetSettings | None = None) -> None:
        """Build the network; if `settings` is None, that of the paper with one input channel."""
        super().__init__()
        self.settings = settings or UNetSettings()
        self.path = UNetPath(self.settings)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels)
        features = self.path.encode(image)
        return Prediction(positive=at_least_float32(self.path.decode(features[:-1], features[-1])))


ENTRY = Entry(
    "U-Net",
    UNetSettings,
    UNet,
    "Ronneberger et al., MICCAI 2015",
    "high",
    Source(8_637_345, 25.06, options=(("output_kernel", 1),)),
    note=(
        "Table IV's base width is unknown; this is the paper's own sub-network. With width=64 and output_kernel=1 "
        "it is the usual public re-implementation."
    ),
)
