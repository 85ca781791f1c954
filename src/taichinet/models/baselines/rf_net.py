"""RF-Net (Wang, Liang and Zhang, "Residual Feedback Network for Breast Lesion Segmentation in Ultrasound Image",
MICCAI 2021): the row "Wang et al." of Table IV.

Certain: the structure, from the official code ("Reback v2"). A first pass answers and says where it expects to be
wrong; a second pass with the same weights looks there more closely, and its answer is the prediction. The figure of the
paper feeds back at four places and draws three convolutional residual units; the code has five places and two, and we
follow the code. The official stem takes two channels, the image and its contrast; ours takes the image unless
`contrast_input` asks for both.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Feedback, Prediction, at_least_float32
from taichinet.models.backbones import PretrainedSettings, ResNetEncoder
from taichinet.models.input_size import check_input

SIZE_MULTIPLE = 32


class RFNetSettings(PretrainedSettings):
    """Options of an RF-Net; its widths are ResNet-34's."""

    contrast_input: bool = Field(default=False, description="the official second input channel, made from the image")
    feedback_places: Literal[4, 5] = Field(default=5, description="5 as coded, 4 as drawn")

    @model_validator(mode="after")
    def _contrast_is_of_a_grey_image(self) -> Self:
        if self.contrast_input and self.in_channels != 1:
            raise ValueError("contrast_input=true adds a channel to a grey image: leave in_channels at 1")
        return self


def contrast_of(image: Tensor) -> Tensor:
    """exp(-(I - 0.5)^2 / (2 sigma^2)) of grey images (B, 1, H, W), sigma their own standard deviation."""
    with torch.autocast(device_type=image.device.type, enabled=False):
        grey = at_least_float32(image)
        # A flat image has no contrast to show; the floor keeps the quotient finite.
        deviation = grey.std(dim=(-2, -1), keepdim=True).clamp(min=1e-4)
        return torch.exp(-(grey - 0.5).square() / (2 * deviation.square()))


def enlarge(features: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling with aligned corners, as the official code has it everywhere."""
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=True)


class DecoderBlock(nn.Module):
    """1x1 to a quarter, bilinear x2 and 3x3, 1x1: (B, in, H, W) -> (B, out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = in_channels // 4
        self.reduce = nn.Sequential(nn.Conv2d(in_channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True))
        self.refine = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)
        )
        self.expand = nn.Sequential(
            nn.Conv2d(hidden, out_channels, 1), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
        )

    def forward(self, features: Tensor) -> Tensor:
        """The block's output at twice the size."""
        raised: Tensor = self.expand(self.refine(enlarge(self.reduce(features), 2)))
        return raised


class SegmentationHead(nn.Module):
    """Decoder output at half size to logits: (B, 64, H/2, W/2) -> (B, R, H, W)."""

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
        """Logits at the image's size."""
        logits: Tensor = self.layers(enlarge(features, 2))
        return logits


class ResidualRepresentation(nn.Module):
    """Where the first answer may be wrong: the four decoder outputs -> logits (B, R, H/2, W/2)."""

    def __init__(self, regions: int) -> None:
        super().__init__()
        self.of_deepest = nn.Conv2d(256, 64, 3, padding=1)
        self.of_deep = nn.Conv2d(128, 64, 3, padding=1)
        self.merge = nn.Conv2d(256, 64, 3, padding=1)
        self.output = nn.Conv2d(64, regions, 3, padding=1)

    def forward(self, d4: Tensor, d3: Tensor, d2: Tensor, d1: Tensor) -> Tensor:
        """From the outputs at 1/16, 1/8, 1/4 and 1/2."""
        scales = [d1, enlarge(d2, 2), enlarge(F.relu(self.of_deep(d3)), 4), enlarge(F.relu(self.of_deepest(d4)), 8)]
        logits: Tensor = self.output(F.relu(self.merge(torch.cat(scales, dim=1))))
        return logits


class RFNet(nn.Module):
    """ResNet-34 in two passes of the same weights: image (B, C, H, W), sides multiples of 32 -> Prediction."""

    def __init__(self, settings: RFNetSettings | None = None) -> None:
        """Build it from `settings` (one input channel, random weights where None)."""
        super().__init__()
        self.settings = settings or RFNetSettings()
        stem_channels = self.settings.in_channels + self.settings.contrast_input
        self.encoder = ResNetEncoder("resnet34", stem_channels, self.settings.pretrained)
        self.decoder = nn.ModuleList(DecoderBlock(i, o) for i, o in ((512, 256), (256, 128), (128, 64), (64, 64)))
        self.head = SegmentationHead(self.settings.num_classes)
        self.residual = ResidualRepresentation(self.settings.num_classes)
        for module in (self.decoder, self.head.layers[:-1], self.residual):
            module.apply(_begin)

    def forward(self, image: Tensor) -> Prediction:
        """Image in [0, 1] -> Prediction; `feedback` holds the first pass and the residual map at half size."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        seen = torch.cat([image, contrast_of(image)], dim=1) if self.settings.contrast_input else image
        stem = self.encoder.stem(self.encoder.scale(seen))  # both passes begin with the same stem output
        decoded = self._pass(stem, attention=None)
        first = at_least_float32(self.head(decoded[-1]))
        residual = at_least_float32(self.residual(*decoded))
        # One map steers all channels: with several regions it is wherever any of them may be wrong.
        attention = torch.sigmoid(residual).amax(dim=1, keepdim=True)
        second = at_least_float32(self.head(self._pass(stem, attention)[-1]))
        return Prediction(positive=second, feedback=Feedback(first, residual))

    def _pass(self, stem: Tensor, attention: Tensor | None) -> list[Tensor]:
        """The four decoder outputs, deep to shallow, of features multiplied by 1 + attention pooled to their size."""
        features = self.encoder.pool(_modulate(stem, attention, 1))
        skips = []
        for depth, stage in enumerate(self.encoder.stages, start=1):
            last_as_drawn = depth == len(self.encoder.stages) and self.settings.feedback_places == 4
            features = _modulate(stage(features), None if last_as_drawn else attention, 2**depth)
            skips.append(features)
        features = skips.pop()
        outputs = []
        for block in self.decoder:
            features = block(features)
            if skips:
                features = features + skips.pop()
            outputs.append(features)
        return outputs


def _begin(layer: nn.Module) -> None:
    """The official first weights of what is not ResNet; the head's last convolution keeps torch's own."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=1, std=0.02)


def _modulate(features: Tensor, attention: Tensor | None, factor: int) -> Tensor:
    if attention is None:
        return features
    return features * (1 + (F.avg_pool2d(attention, factor) if factor > 1 else attention))
