"""Atrous spatial pyramid pooling (ASPP), used by DeepLabv3 and DeepLabv3+."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.errors import SettingError

PYRAMID_CHANNELS = 256


class ConvBlock(nn.Sequential):
    """Convolution without bias, with padding that keeps the resolution, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class AtrousSpatialPyramidPooling(nn.Module):
    """Fusion of a 1x1, three dilated 3x3 and a global pooling branch: (B, C, H, W) -> (B, 256, H, W).

    In training, dropout with probability `dropout` is applied to the fused features.
    """

    def __init__(self, in_channels: int, dilations: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        views = [ConvBlock(in_channels, PYRAMID_CHANNELS, kernel=1)]
        views += [ConvBlock(in_channels, PYRAMID_CHANNELS, kernel=3, dilation=dilation) for dilation in dilations]
        self.views = nn.ModuleList(views)
        self.pooled = ConvBlock(in_channels, PYRAMID_CHANNELS, kernel=1)
        self.merge = ConvBlock((len(views) + 1) * PYRAMID_CHANNELS, PYRAMID_CHANNELS, kernel=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Apply the pyramid: (B, C, H, W) -> (B, 256, H, W).

        Raises:
            SettingError: A training batch of one image. BatchNorm cannot normalise a single pooled value per channel.
        """
        if self.training and len(features) == 1:
            raise SettingError(
                "The pooled branch of DeepLab normalises one value a channel and image over the batch, so it cannot "
                "be trained on a batch of one image. Give batches of two or more."
            )
        pooled = self.pooled(features.mean(dim=(-2, -1), keepdim=True))
        # Equivalent to bilinear resizing of a single pixel.
        everywhere = pooled.expand(-1, -1, *features.shape[-2:])
        views = [*(view(features) for view in self.views), everywhere]
        merged: Tensor = self.dropout(self.merge(torch.cat(views, dim=1)))
        return merged


def resize(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear resizing to the height and width of `like`."""
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)
