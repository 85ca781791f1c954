"""EfficientNet-lite encoders (Tan and Le, ICML 2019; the lite variants have no squeeze-and-excitation and use ReLU6).

The layers are those of timm's `tf_efficientnet_lite0` and `tf_efficientnet_lite2`, in the same order. They are defined
here because importing timm takes two seconds, also for a prediction, and because a BatchNorm that follows its
convolution in a Sequential is folded into it by the inference runtimes.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.models.backbones import ImageNetScale, load_in_order, packaged_weights, with_input_channels
from taichinet.models.settings import NetworkSettings

EncoderName = Literal["efficientnet-lite0", "efficientnet-lite2"]

# Channels and number of blocks of the seven stages of each encoder.
STAGES: dict[EncoderName, tuple[tuple[int, int], ...]] = {
    "efficientnet-lite0": ((16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)),
    "efficientnet-lite2": ((16, 1), (24, 3), (48, 3), (88, 4), (120, 4), (208, 5), (352, 1)),
}
# Kernel of the depthwise convolutions, stride of the first block, and expansion of the stages.
LAYOUT = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
LEVELS = ((0,), (1,), (2,), (3, 4), (5, 6))  # stages at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image resolution
STEM_CHANNELS = 32
MEAN = STD = (0.5, 0.5, 0.5)  # the normalisation of these encoders' ImageNet training, as in timm
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")  # names in the files of weights of the layers that are not used
SIZE_MULTIPLE = 32  # five strides of two
DARK = 0.04  # darker pixels are outside the field of view or shadow, and do not count for the scale of an image
LEAST_DEVIATION = 0.01  # so that an image of one grey value is finite


class EncoderSettings(NetworkSettings):
    """Options of a network with an EfficientNet-lite encoder."""

    encoder: EncoderName = Field(default="efficientnet-lite0", description="ImageNet encoder")
    encoder_weights: Literal["imagenet", "none"] = Field(
        default="none", description="imagenet: start from the weights in the packages of taichinet[pretrained]"
    )
    input_scale: Literal["fixed", "image"] = Field(
        default="fixed", description="normalise grey values as in the ImageNet training, or by those of each image"
    )


class ImageScale(nn.Module):
    """Normalise each image by the mean and twice the standard deviation of its pixels that are not dark.

    A change of gain has no effect, and a change of contrast a smaller one.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] -> the normalised images."""
        counted = (image > DARK).to(image.dtype)
        count = counted.sum((1, 2, 3), keepdim=True).clamp(min=1)
        mean = (image * counted).sum((1, 2, 3), keepdim=True) / count
        variance = ((image - mean).square() * counted).sum((1, 2, 3), keepdim=True) / count
        return (image - mean) / (2 * torch.sqrt(variance + LEAST_DEVIATION**2))


class InvertedResidual(nn.Sequential):
    """1x1 expansion, depthwise convolution, 1x1 projection; the input is added if the shape is kept."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        hidden = in_channels * expansion
        super().__init__(
            *(_convolution(in_channels, hidden, 1) if expansion > 1 else ()),
            *_convolution(hidden, hidden, kernel, stride, groups=hidden),
            *_convolution(hidden, out_channels, 1)[:-1],  # no activation
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in, H, W) -> (B, out, H/stride, W/stride)."""
        output: Tensor = super().forward(features)  # type: ignore[no-untyped-call]
        return features + output if self.residual else output


class EfficientNetLite(nn.ModuleList):
    """The encoder without classifier: five levels at 1/2 to 1/32 of the image resolution.

    The first level takes images (B, C, H, W) in [0, 1], which it normalises to [-1, 1].
    """

    def __init__(self, settings: EncoderSettings) -> None:
        """Build the encoder with ImageNet weights, or with random initialisation.

        Raises:
            SettingError: The package with the ImageNet weights is not installed.
            WeightsError: Its file cannot be read or does not fit the encoder.
        """
        stages = STAGES[settings.encoder]
        channels = (STEM_CHANNELS, *(width for width, _ in stages))
        fixed = settings.input_scale == "fixed"
        scale = ImageNetScale(settings.in_channels, MEAN, STD) if fixed else ImageScale()
        stem = (scale, *_convolution(3, STEM_CHANNELS, 3, stride=2))
        levels = [
            [block for stage in level for block in _stage(channels[stage], *stages[stage], *LAYOUT[stage])]
            for level in LEVELS
        ]
        super().__init__([nn.Sequential(*stem, *levels[0]), *(nn.Sequential(*blocks) for blocks in levels[1:])])
        self.channels = tuple(stages[level[-1]][0] for level in LEVELS)
        if settings.encoder_weights == "imagenet":
            load_in_order(self, packaged_weights(settings.encoder), settings.encoder, unused=CLASSIFIER)
        first = cast(nn.Sequential, self[0])
        first[2] = with_input_channels(cast(nn.Conv2d, first[2]), settings.in_channels)


def _stage(in_channels: int, channels: int, blocks: int, kernel: int, stride: int, expansion: int) -> list[nn.Module]:
    first = InvertedResidual(in_channels, channels, kernel, stride, expansion)
    return [first, *(InvertedResidual(channels, channels, kernel, 1, expansion) for _ in range(blocks - 1))]


def _convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, ...]:
    """Convolution, BatchNorm and ReLU6; with stride 2, padded like TensorFlow: one pixel less at the top and left."""
    less = stride - 1
    padded = (nn.ZeroPad2d((kernel // 2 - less, kernel // 2) * 2),) if less else ()
    padding = 0 if less else kernel // 2
    return (
        *padded,
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3),
        nn.ReLU6(inplace=True),
    )
