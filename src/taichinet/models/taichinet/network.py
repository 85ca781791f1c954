"""TaiChiNet (Fig. 2): a U-Net for the lesion and one for the background, cross-attention and a complementary head.

The paths are built by the settings: U-Nets in the network of the paper, decoders of one ImageNet encoder in `lite.py`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.autocast import without_autocast
from taichinet.models.backbones import architecture
from taichinet.models.blocks import level_widths, resize
from taichinet.models.entry import Entry, Source
from taichinet.models.presence_head import gated
from taichinet.models.settings import MAX_WIDTH, CouplingSettings, NetworkSettings, check_input
from taichinet.models.taichinet.complementary_head import ComplementaryHead
from taichinet.models.taichinet.cross_attention import CrossAttention
from taichinet.models.unet import EncoderDecoder, UNetPath, UNetSettings


class TwoPathSettings(CouplingSettings, NetworkSettings):
    """Options of every TaiChiNet, whatever its encoder.

    `second_path_at_inference` and `lesion_prior` are our additions: the bias of the positive output is set so that O_p
    starts at `lesion_prior` (O_p' if `head_space` is squash or clamp), see docs/reference/fidelity.md, "The start of
    training".
    """

    of_second_path: ClassVar[tuple[str, ...]] = ("second_path_at_inference",)  # options that change the second path

    second_path: bool = Field(default=True, description="whether there is a second path, for the background")
    cross_attention: bool = Field(default=True, description="cross-attention between the paths at the bottleneck")
    second_path_at_inference: bool = Field(
        default=True, description="false: the second path is only used in training; inference has the cost of one path"
    )
    lesion_prior: float | None = Field(
        default=None, gt=0, lt=1, description="initial probability of lesion in O_p; None: PyTorch's default bias"
    )

    @model_validator(mode="after")
    def _check_second_path(self) -> Self:
        output_needs_it = self.cross_attention or self.head != "none" or self.answer == "mean"
        if not self.second_path and output_needs_it:
            raise ValueError(
                "second_path=false requires cross_attention=false, head=none and answer=positive, because the others "
                "need a second path"
            )
        if not self.second_path and any(getattr(self, name) != default for name, default in self._defaults().items()):
            raise ValueError(
                f"second_path=false requires the defaults of {', '.join(self.of_second_path)}, which change the "
                "second path"
            )
        if not self.second_path_at_inference and output_needs_it:
            raise ValueError(
                "second_path_at_inference=false requires cross_attention=false, head=none and answer=positive: the "
                "output must not depend on the second path"
            )
        return self

    def build_paths(self) -> tuple[EncoderDecoder, EncoderDecoder | None]:
        """The positive and, unless `second_path` is false, the negative path."""
        raise NotImplementedError

    def at_inference(self) -> Self:
        """These options without the parts that are only used in training."""
        if self.second_path_at_inference:
            return self
        return self.model_validate({**architecture(self.model_dump()), "second_path": False, **self._defaults()})

    def _defaults(self) -> dict[str, Any]:
        return {name: type(self).model_fields[name].default for name in self.of_second_path}


class TaiChiNetSettings(TwoPathSettings):
    """Options of a TaiChiNet. The defaults are the network of the paper with one input channel.

    Two further options that reduce the cost are our additions and not part of the paper: the first `shared_levels`
    levels of the encoder are computed once, by the positive path, and used by both; `negative_width` reduces the width
    of the negative path.
    """

    of_second_path: ClassVar[tuple[str, ...]] = ("shared_levels", "negative_width", "second_path_at_inference")

    width: int = Field(default=32, ge=2, le=MAX_WIDTH, multiple_of=2, description="channels of the first level")
    output_kernel: Literal[1, 3] = Field(default=3, description="kernel of the output convolutions")
    shared_levels: int = Field(default=0, ge=0, le=4, description="encoder levels that both paths share")
    negative_width: int | None = Field(
        default=None, ge=1, le=MAX_WIDTH, description="first-level channels of the negative path"
    )

    def path_settings(self, width: int | None = None) -> UNetSettings:
        """Options of the U-Net of one path; `width` overrides the width of the network."""
        return UNetSettings(
            in_channels=self.in_channels,
            num_classes=self.num_classes,
            width=self.width if width is None else width,
            output_kernel=self.output_kernel,
        )

    def build_paths(self) -> tuple[EncoderDecoder, EncoderDecoder | None]:
        """Two U-Nets."""
        positive = UNetPath(self.path_settings())
        if not self.second_path:
            return positive, None
        shared = level_widths(self.width)[: self.shared_levels]
        return positive, UNetPath(self.path_settings(self.negative_width), given=shared)


class TaiChiNet(nn.Module):
    """The negative-positive cross-attention network; 18,325,826 parameters with RGB input, without the head."""

    positive: EncoderDecoder
    negative: EncoderDecoder | None

    def __init__(self, settings: TwoPathSettings | None = None) -> None:
        """Build the network; if `settings` is None, that of the paper with one input channel."""
        super().__init__()
        self.settings: TwoPathSettings = settings or TaiChiNetSettings()
        self.positive, self.negative = self.settings.build_paths()
        prior = self.settings.negative_prior
        if self.negative is not None and prior > 0.5:
            nn.init.constant_(self.negative.output.bias, _logit(prior))  # type: ignore[arg-type]
        self.cross_attention = None
        if self.settings.cross_attention and self.negative is not None:
            self.cross_attention = CrossAttention(self.positive.deep_channels, self.negative.deep_channels)
        self.head = (
            ComplementaryHead(self.settings, self.settings.num_classes) if self.settings.head != "none" else None
        )
        if self.settings.lesion_prior is not None:
            self._start_at(self.settings.lesion_prior)

    @torch.no_grad()
    def _start_at(self, lesion_prior: float) -> None:
        """Set the bias of the positive output so that O_p starts at `lesion_prior`, including what the head adds."""
        bias = nn.init.constant_(self.positive.output.bias, _logit(lesion_prior))  # type: ignore[arg-type]
        if self.head is not None and self.head.space == "logit":
            bias -= self.head.added_to_positive(self.settings.negative_prior)

    def forward(self, image: Tensor) -> Prediction:
        """Segment a batch of images.

        Args:
            image: (B, C, H, W) in [0, 1]; H and W are multiples of 16, or of 32 with an ImageNet encoder.

        Returns:
            Logits (B, R, H, W) of both paths. Only the positive path in a one-path network, and in evaluation mode if
            `settings.second_path_at_inference` is false.

        Raises:
            SettingError: The shape of `image` does not fit the network.
        """
        if self.negative is None or not (self.training or self.settings.second_path_at_inference):
            return self.positive_alone(image)
        check_input(image, self.settings.in_channels, self.positive.size_multiple)
        *skips_p, deep_p = self.positive.encode(image)  # Eq. 2
        *skips_n, deep_n = self.negative.encode(image, tuple(skips_p[: self.negative.given]))  # Eq. 1
        if self.cross_attention is not None:
            deep_n, deep_p = self.cross_attention(deep_n, deep_p)  # Eq. 3
        output_n = at_least_float32(self.negative.decode(tuple(skips_n), deep_n))  # Eq. 4
        output_p = at_least_float32(self.positive.decode(tuple(skips_p), deep_p))  # Eq. 5
        if self.head is not None:
            # The sum of Eq. 10-11 must not be rounded. One channel of logits per region is cheap in float32.
            with without_autocast(image):
                output_n, output_p = self.head(output_n, output_p)
        presence = self.positive.presence(tuple(skips_p))
        return Prediction(
            positive=resize(gated(output_p, presence), like=image),
            negative=resize(output_n, like=image),
            negative_sees=self.settings.negative_sees,
            answer=self.settings.answer,
            presence=presence,
        )

    def positive_alone(self, image: Tensor) -> Prediction:
        """O_p' of images (B, C, H, W), the output of a network without head, without decoding the negative path."""
        check_input(image, self.settings.in_channels, self.positive.size_multiple)
        *skips, deep = self.positive.encode(image)
        if self.negative is not None and self.cross_attention is not None:
            deep_n = self.negative.encode(image, tuple(skips[: self.negative.given]))[-1]
            _, deep = self.cross_attention(deep_n, deep)
        presence = self.positive.presence(tuple(skips))
        output = gated(at_least_float32(self.positive.decode(tuple(skips), deep)), presence)
        return Prediction(positive=resize(output, like=image), presence=presence)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def without_training_parts(network: nn.Module) -> nn.Module:
    """Return the network for inference, without a second path that is only used in training.

    For a TaiChiNet with `second_path_at_inference=False`, this is a one-path TaiChiNet that shares the weights of the
    positive path. Any other network is returned unchanged.
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
