"""TaiChiNet: two U-Nets with opposite eyes, cross-attention between them, a complementary head (Fig. 2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from taichinet.batch import Prediction
from taichinet.models.blocks import level_widths
from taichinet.models.input_size import check_input
from taichinet.models.taichinet.complementary_head import ComplementaryHead
from taichinet.models.taichinet.cross_attention import CrossAttention
from taichinet.models.taichinet.settings import TaiChiNetSettings
from taichinet.models.unet import UNetPath


class TaiChiNet(nn.Module):
    """The negative-positive cross-attention network; 18,325,826 parameters with RGB input before the head."""

    def __init__(self, settings: TaiChiNetSettings | None = None) -> None:
        """Build it from `settings` (the paper's network with one input channel where None)."""
        super().__init__()
        self.settings = settings or TaiChiNetSettings()
        path = self.settings.path_settings()
        self.positive = UNetPath(path)
        self.negative = UNetPath(path) if self.settings.second_path else None
        if (
            self.negative is not None
            and self.settings.mutual == "complementary"
            and self.settings.background_prior > 0.5
        ):
            prior = self.settings.background_prior
            nn.init.constant_(self.negative.output.bias, math.log(prior / (1 - prior)))  # type: ignore[arg-type]
        deep_channels = level_widths(self.settings.width)[-1]
        self.cross_attention = CrossAttention(deep_channels) if self.settings.cross_attention else None
        self.head = (
            ComplementaryHead(self.settings, self.settings.num_classes) if self.settings.head != "none" else None
        )

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1], H and W multiples of 16 -> Prediction of both paths."""
        check_input(image, self.settings.in_channels)
        *skips_p, deep_p = self.positive.encode(image)  # Eq. 2
        if self.negative is None:
            return Prediction(positive=self.positive.decode(tuple(skips_p), deep_p).float())
        *skips_n, deep_n = self.negative.encode(image)  # Eq. 1
        if self.cross_attention is not None:
            deep_n, deep_p = self.cross_attention(deep_n, deep_p)  # Eq. 3
        output_n = self.negative.decode(tuple(skips_n), deep_n).float()  # Eq. 4
        output_p = self.positive.decode(tuple(skips_p), deep_p).float()  # Eq. 5
        if self.head is not None:
            # One channel of logits costs nothing in float32, and the sum of Eq. 10-11 must not be rounded.
            with torch.autocast(device_type=image.device.type, enabled=False):
                output_n, output_p = self.head(output_n, output_p)
        return Prediction(
            positive=output_p,
            negative=output_n,
            negative_sees="background" if self.settings.mutual == "complementary" else "lesion",
            answer=self.settings.answer,
        )
