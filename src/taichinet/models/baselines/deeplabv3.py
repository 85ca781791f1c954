"""DeepLabv3 (Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv 2017).

Certain: the structure, on which the two common libraries agree. Unknown: which network Table IV refers to. Its text has
"deeplabv3" and cites DeepLabv3+ (`deeplabv3_plus.py`), and does not state the backbone and output stride. The auxiliary
head of some libraries is omitted.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.backbones import PretrainedSettings, ResNetEncoder
from taichinet.models.baselines.aspp import PYRAMID_CHANNELS, AtrousSpatialPyramidPooling, ConvBlock, resize
from taichinet.models.input_size import SIZE_MULTIPLE, check_input

DILATIONS = {8: (12, 24, 36), 16: (6, 12, 18)}  # by output stride, Sec. 3.3 of the paper


class DeepLabV3Settings(PretrainedSettings):
    """Options of a DeepLabv3. Output stride 8 is the usual choice and costs three times as much as 16."""

    backbone: Literal["resnet50", "resnet101"] = "resnet50"
    output_stride: Literal[8, 16] = 8
    dropout: float = Field(default=0.5, ge=0, lt=1)


class DeepLabV3(nn.Module):
    """Dilated ResNet, ASPP, one 3x3 convolution: image (B, C, H, W), H and W multiples of 16 -> Prediction."""

    def __init__(self, settings: DeepLabV3Settings | None = None) -> None:
        """Build the network; if `settings` is None, ResNet-50, output stride 8, one input channel, random weights."""
        super().__init__()
        self.settings = settings or DeepLabV3Settings()
        stride = self.settings.output_stride
        self.encoder = ResNetEncoder(
            self.settings.backbone, self.settings.in_channels, self.settings.pretrained, output_stride=stride
        )
        self.pyramid = AtrousSpatialPyramidPooling(2048, DILATIONS[stride], self.settings.dropout)
        self.decoder = ConvBlock(PYRAMID_CHANNELS, PYRAMID_CHANNELS, kernel=3)
        self.head = nn.Conv2d(PYRAMID_CHANNELS, self.settings.num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        logits = self.head(self.decoder(self.pyramid(self.encoder(image)[-1])))
        return Prediction(positive=resize(at_least_float32(logits), like=image))
