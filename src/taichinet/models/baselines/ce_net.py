"""CE-Net (Gu et al., "CE-Net: Context Encoder Network for 2D Medical Image Segmentation", TMI 2019).

Certain: the complete network, from the official code. The paper does not state whether the branches of the context
modules share weights; they do in the code and here. One deviation for small images: a pooling window larger than the
deepest feature map is reduced to the size of the map, so that sizes below 192 pixels work. At 192 pixels and above, the
network is that of the official code. The decoder blocks and the output head are also used by FAT-Net.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.backbones import PretrainedSettings, ResNetEncoder
from taichinet.models.blocks import ConvBlock
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import check_input

SIZE_MULTIPLE = 32
POOL_WINDOWS = (2, 3, 5, 6)
DEEP_CHANNELS = 512


class BottleneckUp(nn.Sequential):
    """Upsampling bottleneck block: (B, in, H, W) -> (B, out, 2H, 2W).

    1x1 convolution to in/4 channels, 3x3 transposed convolution with stride 2, 1x1 convolution; each is followed by
    BatchNorm and ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        hidden = in_channels // 4
        super().__init__(
            *ConvBlock(in_channels, hidden, kernel=1),
            nn.ConvTranspose2d(hidden, hidden, kernel_size=3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            *ConvBlock(hidden, out_channels, kernel=1),
        )


class CENetSettings(PretrainedSettings):
    """Options of a CE-Net, and of other networks that end with `TransposedHead`. The widths are those of ResNet-34.

    `lesion_prior` is the initial probability of lesion, set by the output bias. With the initialisation of the sources
    (0.5), the background pixels turn off all features of the head at the lesion. The output there is only its bias, and
    stays below 1/2 for hundreds of steps: see docs/reference/fidelity.md.
    """

    lesion_prior: float = Field(
        default=0.1, gt=0, le=0.5, description="initial probability of lesion; 0.5: PyTorch's default bias"
    )

    def for_second_path(self) -> Self:
        """Settings without the lesion prior: the prior of the second path is `CouplingSettings.background_prior`."""
        return self.model_copy(update={"lesion_prior": 0.5})


class TransposedHead(nn.Sequential):
    """Output head from features at half resolution to logits: (B, C, H/2, W/2) -> (B, R, H, W)."""

    def __init__(self, channels: int, regions: int, lesion_prior: float) -> None:
        """Initialise the last bias to the logit of `lesion_prior`; 0.5 keeps PyTorch's default initialisation."""
        super().__init__(
            nn.ConvTranspose2d(channels, 32, kernel_size=4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, regions, kernel_size=3, padding=1),
        )
        if lesion_prior < 0.5:
            nn.init.constant_(self[-1].bias, math.log(lesion_prior / (1 - lesion_prior)))  # type: ignore[arg-type]


class DenseAtrousConvolution(nn.Module):
    """DAC: four branches with increasing receptive field and shared convolutions, added to the input: (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reach_1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.reach_3 = nn.Conv2d(channels, channels, kernel_size=3, padding=3, dilation=3)
        self.reach_5 = nn.Conv2d(channels, channels, kernel_size=3, padding=5, dilation=5)
        self.project = nn.Conv2d(channels, channels, kernel_size=1)
        for convolution in (self.reach_1, self.reach_3, self.reach_5, self.project):
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Each branch ends with a ReLU; there is no activation between its convolutions."""
        near = self.reach_1(features)
        further = self.reach_3(near)
        branches = (
            near,
            self.project(self.reach_3(features)),
            self.project(further),
            self.project(self.reach_5(further)),
        )
        enriched = features
        for branch in branches:
            enriched = enriched + F.relu(branch)
        return enriched


class ResidualMultiKernelPooling(nn.Module):
    """RMP: concatenates one map per pooling window with the features: (B, C, H, W) -> (B, C + 4, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """The four maps in order of increasing window, followed by the features."""
        height, width = features.shape[-2:]
        maps = []
        for window in POOL_WINDOWS:
            pooled = F.max_pool2d(features, (min(window, height), min(window, width)))
            maps.append(F.interpolate(self.squeeze(pooled), size=(height, width), mode="bilinear"))
        return torch.cat([*maps, features], dim=1)


class CENet(nn.Module):
    """ResNet-34, context modules, bottleneck decoder: image (B, C, H, W), H and W multiples of 32 -> Prediction."""

    def __init__(self, settings: CENetSettings | None = None) -> None:
        """Build the network; if `settings` is None, with one input channel and random initialisation."""
        super().__init__()
        self.settings = settings or CENetSettings()
        self.encoder = ResNetEncoder("resnet34", self.settings.in_channels, self.settings.pretrained)
        self.atrous = DenseAtrousConvolution(DEEP_CHANNELS)
        self.pooling = ResidualMultiKernelPooling(DEEP_CHANNELS)
        deep = DEEP_CHANNELS + len(POOL_WINDOWS)
        self.decoder = nn.ModuleList(BottleneckUp(i, o) for i, o in ((deep, 256), (256, 128), (128, 64), (64, 64)))
        self.head = TransposedHead(64, self.settings.num_classes, self.settings.lesion_prior)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        first, second, third, deep = self.encoder(image)
        features = self.pooling(self.atrous(deep))
        for block, skip in zip(self.decoder, (third, second, first), strict=False):
            features = block(features) + skip
        return Prediction(positive=at_least_float32(self.head(self.decoder[-1](features))))


ENTRY = Entry(
    "CE-Net",
    CENetSettings,
    CENet,
    "Gu et al., TMI 2019",
    "high",
    Source(29_003_093, 10.95, repeated_gflops=0.694),
    size_multiple=SIZE_MULTIPLE,
)
