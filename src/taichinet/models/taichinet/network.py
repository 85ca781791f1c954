"""TaiChiNet (Fig. 2): a U-Net for the lesion and one for the background, cross-attention and a complementary head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import level_widths, without_autocast
from taichinet.models.entry import Entry, Source
from taichinet.models.input_size import check_input
from taichinet.models.taichinet.complementary_head import ComplementaryHead
from taichinet.models.taichinet.cross_attention import CrossAttention
from taichinet.models.taichinet.settings import TaiChiNetSettings
from taichinet.models.unet import UNetPath


class TaiChiNet(nn.Module):
    """The negative-positive cross-attention network; 18,325,826 parameters with RGB input, without the head."""

    def __init__(self, settings: TaiChiNetSettings | None = None) -> None:
        """Build the network.

        Args:
            settings: Network options. None is the network of the paper with one input channel.
        """
        super().__init__()
        self.settings = settings or TaiChiNetSettings()
        widths = level_widths(self.settings.width)
        self.positive = UNetPath(self.settings.path_settings())
        second = self.settings.path_settings(self.settings.negative_width)
        shared = widths[: self.settings.shared_levels]
        self.negative = UNetPath(second, given=shared) if self.settings.second_path else None
        if (
            self.negative is not None
            and self.settings.mutual == "complementary"
            and self.settings.background_prior > 0.5
        ):
            prior = self.settings.background_prior
            nn.init.constant_(self.negative.output.bias, math.log(prior / (1 - prior)))  # type: ignore[arg-type]
        deep_channels = (widths[-1], level_widths(second.width)[-1])
        self.cross_attention = CrossAttention(*deep_channels) if self.settings.cross_attention else None
        self.head = (
            ComplementaryHead(self.settings, self.settings.num_classes) if self.settings.head != "none" else None
        )

    def forward(self, image: Tensor) -> Prediction:
        """Segment a batch of images.

        Args:
            image: (B, C, H, W) in [0, 1]; H and W are multiples of 16.

        Returns:
            Logits (B, R, H, W) of both paths. Only the positive path in a one-path network, and in evaluation mode if
            `settings.second_path_at_inference` is false.

        Raises:
            SettingError: The shape of `image` does not fit the network.
        """
        check_input(image, self.settings.in_channels)
        *skips_p, deep_p = self.positive.encode(image)  # Eq. 2
        if self.negative is None or not (self.training or self.settings.second_path_at_inference):
            return Prediction(positive=at_least_float32(self.positive.decode(tuple(skips_p), deep_p)))
        *skips_n, deep_n = self.negative.encode(image, tuple(skips_p[: self.settings.shared_levels]))  # Eq. 1
        if self.cross_attention is not None:
            deep_n, deep_p = self.cross_attention(deep_n, deep_p)  # Eq. 3
        output_n = at_least_float32(self.negative.decode(tuple(skips_n), deep_n))  # Eq. 4
        output_p = at_least_float32(self.positive.decode(tuple(skips_p), deep_p))  # Eq. 5
        if self.head is not None:
            # The sum of Eq. 10-11 must not be rounded. One channel of logits per region is cheap in float32.
            with without_autocast(image):
                output_n, output_p = self.head(output_n, output_p)
        return Prediction(
            positive=output_p,
            negative=output_n,
            negative_sees="background" if self.settings.mutual == "complementary" else "lesion",
            answer=self.settings.answer,
        )


def without_training_parts(network: nn.Module) -> nn.Module:
    """Return the network for inference, without a second path that is only used in training.

    Args:
        network: Any network.

    Returns:
        For a TaiChiNet with `second_path_at_inference=False`, a one-path TaiChiNet that shares the weights of the
        positive path and has matching settings. Otherwise `network` itself.
    """
    if not isinstance(network, TaiChiNet) or network.settings.second_path_at_inference:
        return network
    with torch.random.fork_rng(devices=[]):  # the initial weights are discarded: keep the random state
        alone = TaiChiNet(network.settings.at_inference())
    alone.positive = network.positive
    return alone.train(network.training)


ENTRY = Entry(
    "TaiChiNet",
    TaiChiNetSettings,
    TaiChiNet,
    "Wang et al., TaiChiNet",
    "high",
    Source(18_325_826, None, options=(("head", "none"),)),
)
