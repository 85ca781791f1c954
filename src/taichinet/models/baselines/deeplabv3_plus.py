"""DeepLabv3+ (Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
ECCV 2018).

Certain: the structure, with the decoder of two 3x3 convolutions of the DeepLabv3+ paper. Table IV cites this network,
but its text has "deeplabv3" (`deeplabv3.py`). Backbone and output stride are not stated: ResNet-50 with output stride
16 is our choice. The best model of the DeepLabv3+ paper has a modified Xception backbone and depthwise-separable
convolutions; this implementation has standard convolutions, as common re-implementations with a ResNet do.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.backbones import PretrainedSettings, ResNetEncoder
from taichinet.models.baselines.aspp import PYRAMID_CHANNELS, AtrousSpatialPyramidPooling, ConvBlock, resize
from taichinet.models.input_size import SIZE_MULTIPLE, check_input

DILATIONS = {16: (6, 12, 18), 8: (12, 24, 36)}  # by output stride
LOW_LEVEL_CHANNELS = 48


class DeepLabV3PlusSettings(PretrainedSettings):
    """Options of a DeepLabv3+."""

    backbone: Literal["resnet50", "resnet101"] = "resnet50"
    output_stride: Literal[8, 16] = 16
    dropout: float = Field(default=0.5, ge=0, lt=1)
    decoder_convolutions: Literal[1, 2] = Field(default=2, description="3x3 convolutions after the low-level skip")


class DeepLabV3Plus(nn.Module):
    """Dilated ResNet, ASPP, decoder with one skip: image (B, C, H, W), H and W multiples of 16 -> Prediction."""

    def __init__(self, settings: DeepLabV3PlusSettings | None = None) -> None:
        """Build the network; if `settings` is None, ResNet-50, output stride 16, one input channel, random weights."""
        super().__init__()
        self.settings = settings or DeepLabV3PlusSettings()
        stride = self.settings.output_stride
        self.encoder = ResNetEncoder(
            self.settings.backbone, self.settings.in_channels, self.settings.pretrained, output_stride=stride
        )
        self.pyramid = AtrousSpatialPyramidPooling(2048, DILATIONS[stride], self.settings.dropout)
        self.low_level = ConvBlock(256, LOW_LEVEL_CHANNELS, kernel=1)
        inputs = (PYRAMID_CHANNELS + LOW_LEVEL_CHANNELS, PYRAMID_CHANNELS)
        self.decoder = nn.Sequential(
            *(ConvBlock(width, PYRAMID_CHANNELS, kernel=3) for width in inputs[: self.settings.decoder_convolutions])
        )
        self.head = nn.Conv2d(PYRAMID_CHANNELS, self.settings.num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        shallow, *_, deep = self.encoder(image)
        low_level = self.low_level(shallow)
        raised = resize(self.pyramid(deep), like=low_level)
        logits = self.head(self.decoder(torch.cat([low_level, raised], dim=1)))
        return Prediction(positive=resize(at_least_float32(logits), like=image))
