"""DeepLabv3 (Chen et al., arXiv 2017) and DeepLabv3+ (Chen et al., ECCV 2018).

Papers: "Rethinking Atrous Convolution for Semantic Image Segmentation" and "Encoder-Decoder with Atrous Separable
Convolution for Semantic Image Segmentation".

Certain: the structures. For DeepLabv3, the two common libraries agree; the auxiliary head of some libraries is omitted.
DeepLabv3+ has the decoder of two 3x3 convolutions of its paper. Unknown: which network Table IV refers to. Its text has
"deeplabv3" and cites DeepLabv3+, and does not state the backbone and output stride: ResNet-50 with output stride 8 and
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
from taichinet.models.blocks import ConvBlock, resize
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import SIZE_MULTIPLE, check_input, refuse_single_image

DILATIONS = {8: (12, 24, 36), 16: (6, 12, 18)}  # by output stride, Sec. 3.3 of the DeepLabv3 paper
PYRAMID_CHANNELS = 256
LOW_LEVEL_CHANNELS = 48


class DeepLabV3Settings(PretrainedSettings):
    """Options of a DeepLabv3. Output stride 8 is the usual choice and costs three times as much as 16."""

    backbone: Literal["resnet50", "resnet101"] = Field(default="resnet50", description="encoder")
    output_stride: Literal[8, 16] = Field(default=8, description="image resolution divided by that of the encoder")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="probability of dropout after the pyramid")


class DeepLabV3PlusSettings(DeepLabV3Settings):
    """Options of a DeepLabv3+."""

    output_stride: Literal[8, 16] = Field(default=16, description="image resolution divided by that of the encoder")
    decoder_convolutions: Literal[1, 2] = Field(default=2, description="3x3 convolutions after the low-level skip")


class AtrousSpatialPyramidPooling(nn.Module):
    """Fusion of a 1x1, three dilated 3x3 and a global pooling branch: (B, C, H, W) -> (B, 256, H, W).

    In training, dropout with probability `dropout` is applied to the fused features.
    """

    def __init__(self, in_channels: int, dilations: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        self.views = nn.ModuleList([ConvBlock(in_channels, PYRAMID_CHANNELS, kernel=1, bias=False)])
        for dilation in dilations:
            self.views.append(ConvBlock(in_channels, PYRAMID_CHANNELS, kernel=3, dilation=dilation, bias=False))
        self.pooled = ConvBlock(in_channels, PYRAMID_CHANNELS, kernel=1, bias=False)
        self.merge = ConvBlock((len(self.views) + 1) * PYRAMID_CHANNELS, PYRAMID_CHANNELS, kernel=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Apply the pyramid: (B, C, H, W) -> (B, 256, H, W).

        Raises:
            SettingError: A training batch of one image. BatchNorm cannot normalise a single pooled value per channel.
        """
        refuse_single_image(self, "DeepLab", features)
        pooled = self.pooled(features.mean(dim=(-2, -1), keepdim=True))
        # Equivalent to bilinear resizing of a single pixel.
        everywhere = pooled.expand(-1, -1, *features.shape[-2:])
        views = [*(view(features) for view in self.views), everywhere]
        merged: Tensor = self.dropout(self.merge(torch.cat(views, dim=1)))
        return merged


class _DilatedEncoder(nn.Module):
    """The parts that both networks start with: dilated ResNet and ASPP."""

    def __init__(self, settings: DeepLabV3Settings) -> None:
        super().__init__()
        stride = settings.output_stride
        self.encoder = ResNetEncoder(settings.backbone, settings.in_channels, settings.pretrained, output_stride=stride)
        self.pyramid = AtrousSpatialPyramidPooling(2048, DILATIONS[stride], settings.dropout)


class DeepLabV3(_DilatedEncoder):
    """Dilated ResNet, ASPP, one 3x3 convolution: image (B, C, H, W), H and W multiples of 16 -> Prediction."""

    def __init__(self, settings: DeepLabV3Settings | None = None) -> None:
        """Build the network; if `settings` is None, ResNet-50, output stride 8, one input channel, random weights."""
        self.settings = settings or DeepLabV3Settings()
        super().__init__(self.settings)
        self.decoder = ConvBlock(PYRAMID_CHANNELS, PYRAMID_CHANNELS, kernel=3, bias=False)
        self.head = nn.Conv2d(PYRAMID_CHANNELS, self.settings.num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        logits = self.head(self.decoder(self.pyramid(self.encoder(image)[-1])))
        return Prediction(positive=resize(at_least_float32(logits), like=image))


class DeepLabV3Plus(_DilatedEncoder):
    """Dilated ResNet, ASPP, decoder with one skip: image (B, C, H, W), H and W multiples of 16 -> Prediction."""

    def __init__(self, settings: DeepLabV3PlusSettings | None = None) -> None:
        """Build the network; if `settings` is None, ResNet-50, output stride 16, one input channel, random weights."""
        self.settings = settings or DeepLabV3PlusSettings()
        super().__init__(self.settings)
        self.low_level = ConvBlock(256, LOW_LEVEL_CHANNELS, kernel=1, bias=False)
        inputs = (PYRAMID_CHANNELS + LOW_LEVEL_CHANNELS, PYRAMID_CHANNELS)
        self.decoder = nn.Sequential(
            *(
                ConvBlock(width, PYRAMID_CHANNELS, kernel=3, bias=False)
                for width in inputs[: self.settings.decoder_convolutions]
            )
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


V3_ENTRY = Entry(
    "DeepLabv3",
    DeepLabV3Settings,
    DeepLabV3,
    "Chen et al., arXiv 2017",
    "medium",
    Source(39_633_729, 62.61),
    note='Table IV says "deeplabv3" and cites DeepLabv3+; which of the two, and its backbone, are unknown.',
)


V3_PLUS_ENTRY = Entry(
    "DeepLabv3+",
    DeepLabV3PlusSettings,
    DeepLabV3Plus,
    "Chen et al., ECCV 2018",
    "medium",
    Source(40_347_041, 26.47),
    note='Table IV says "deeplabv3" and cites DeepLabv3+; which of the two, and its backbone, are unknown.',
)
