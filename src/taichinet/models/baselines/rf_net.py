"""RF-Net (Wang, Liang and Zhang, MICCAI 2021): the row "Wang et al." of Table IV.

Paper: "Residual Feedback Network for Breast Lesion Segmentation in Ultrasound Image".

Certain: the structure, from the official code ("Reback v2"). A first pass predicts a segmentation and a residual map of
its expected errors. The residual map weights the features of a second pass with the same weights, whose output is the
prediction. The figure of the paper shows feedback at four places and three convolutional residual units; the code has
five places and two units, and we follow the code. The official stem takes two channels, the image and a contrast map;
ours takes only the image unless `contrast_input` is true.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Feedback, Prediction, at_least_float32
from taichinet.models.autocast import without_autocast
from taichinet.models.backbones import PretrainedSettings, ResNetEncoder
from taichinet.models.blocks import ConvBlock
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import check_input

SIZE_MULTIPLE = 32


class RFNetSettings(PretrainedSettings):
    """Options of an RF-Net. Its widths are those of ResNet-34."""

    contrast_input: bool = Field(default=False, description="add the contrast map of the official code")
    feedback_places: Literal[4, 5] = Field(default=5, description="5 as in the official code, 4 as in the figure")

    @model_validator(mode="after")
    def _check_contrast_input(self) -> Self:
        if self.contrast_input and self.in_channels != 1:
            raise ValueError("contrast_input=true requires in_channels=1: it adds a channel to a grey image")
        return self


def contrast_of(image: Tensor) -> Tensor:
    """Contrast map exp(-(I - 0.5)^2 / (2 sigma^2)) of grey images (B, 1, H, W); sigma is the SD of each image."""
    with without_autocast(image):
        grey = at_least_float32(image)
        # The lower bound avoids a division by zero for constant images.
        sigma = grey.std(dim=(-2, -1), keepdim=True).clamp(min=1e-4)
        return torch.exp(-(grey - 0.5).square() / (2 * sigma.square()))


def enlarge(features: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling with aligned corners, as in the official code."""
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=True)


class DecoderBlock(nn.Module):
    """Upsampling bottleneck block: (B, in, H, W) -> (B, out, 2H, 2W).

    1x1 convolution to in/4 channels, bilinear x2 upsampling and 3x3 convolution, 1x1 convolution; each convolution is
    followed by BatchNorm and ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = in_channels // 4
        self.reduce = ConvBlock(in_channels, hidden, kernel=1)
        self.refine = ConvBlock(hidden, hidden, kernel=3)
        self.expand = ConvBlock(hidden, out_channels, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """The output of the block at twice the resolution."""
        raised: Tensor = self.expand(self.refine(enlarge(self.reduce(features), 2)))
        return raised


class SegmentationHead(nn.Module):
    """Output head from features at half resolution to logits: (B, 64, H/2, W/2) -> (B, R, H, W)."""

    def __init__(self, regions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, regions, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits at image resolution."""
        logits: Tensor = self.layers(enlarge(features, 2))
        return logits


class ResidualRepresentation(nn.Module):
    """Residual map, the expected errors of the first pass: four decoder outputs -> logits (B, R, H/2, W/2)."""

    def __init__(self, regions: int) -> None:
        super().__init__()
        self.of_deepest = nn.Conv2d(256, 64, 3, padding=1)
        self.of_deep = nn.Conv2d(128, 64, 3, padding=1)
        self.merge = nn.Conv2d(256, 64, 3, padding=1)
        self.output = nn.Conv2d(64, regions, 3, padding=1)

    def forward(self, d4: Tensor, d3: Tensor, d2: Tensor, d1: Tensor) -> Tensor:
        """Logits of the residual map from the decoder outputs at 1/16, 1/8, 1/4 and 1/2 of the image resolution."""
        scales = [d1, enlarge(d2, 2), enlarge(F.relu(self.of_deep(d3)), 4), enlarge(F.relu(self.of_deepest(d4)), 8)]
        logits: Tensor = self.output(F.relu(self.merge(torch.cat(scales, dim=1))))
        return logits


class RFNet(nn.Module):
    """ResNet-34, two passes with shared weights: image (B, C, H, W), H and W multiples of 32 -> Prediction."""

    def __init__(self, settings: RFNetSettings | None = None) -> None:
        """Build the network; if `settings` is None, with one input channel and random initialisation."""
        super().__init__()
        self.settings = settings or RFNetSettings()
        stem_channels = self.settings.in_channels + self.settings.contrast_input
        self.encoder = ResNetEncoder("resnet34", stem_channels, self.settings.pretrained)
        self.decoder = nn.ModuleList(DecoderBlock(i, o) for i, o in ((512, 256), (256, 128), (128, 64), (64, 64)))
        self.head = SegmentationHead(self.settings.num_classes)
        self.residual = ResidualRepresentation(self.settings.num_classes)
        for module in (self.decoder, self.head.layers[:-1], self.residual):
            module.apply(_initialise)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction; `feedback` holds first pass and half-resolution residual map."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        inputs = torch.cat([image, contrast_of(image)], dim=1) if self.settings.contrast_input else image
        stem = self.encoder.stem(self.encoder.scale(inputs))  # both passes use the same stem output
        decoded = self._pass(stem, attention=None)
        first = at_least_float32(self.head(decoded[-1]))
        residual = at_least_float32(self.residual(*decoded))
        # All channels share one attention map: with several regions, the maximum of the residual over the regions.
        attention = torch.sigmoid(residual).amax(dim=1, keepdim=True)
        second = at_least_float32(self.head(self._pass(stem, attention)[-1]))
        return Prediction(positive=second, feedback=Feedback(first, residual))

    def _pass(self, stem: Tensor, attention: Tensor | None) -> list[Tensor]:
        """Four decoder outputs, deep to shallow. Encoder features are multiplied by 1 + attention, pooled to fit."""
        features = self.encoder.pool(_modulate(stem, attention, 1))
        skips = []
        for depth, stage in enumerate(self.encoder.stages, start=1):
            no_feedback = depth == len(self.encoder.stages) and self.settings.feedback_places == 4
            features = _modulate(stage(features), None if no_feedback else attention, 2**depth)
            skips.append(features)
        features = skips.pop()
        outputs = []
        for block in self.decoder:
            features = block(features)
            if skips:
                features = features + skips.pop()
            outputs.append(features)
        return outputs


def _initialise(layer: nn.Module) -> None:
    """Initialisation of the official code for layers outside the ResNet.

    The last convolution of the head keeps PyTorch's default initialisation.
    """
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=1, std=0.02)


def _modulate(features: Tensor, attention: Tensor | None, factor: int) -> Tensor:
    if attention is None:
        return features
    return features * (1 + (F.avg_pool2d(attention, factor) if factor > 1 else attention))


ENTRY = Entry(
    "RF-Net",
    RFNetSettings,
    RFNet,
    "Wang et al., MICCAI 2021",
    "high",
    Source(22_011_970, 24.79, repeated_gflops=0.236),
    note="As coded: feedback at five places where the paper draws four; the stem takes the image alone.",
    size_multiple=SIZE_MULTIPLE,
)
