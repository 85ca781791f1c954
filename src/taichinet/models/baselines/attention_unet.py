"""Attention U-Net (Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018).

Certain: the gates, widths and totals of the usual two-dimensional version, which ultrasound papers compare with: the
U-Net of Fig. 3 with an additive gate on each skip, after the up block. The authors' own code is three-dimensional and
differs: it gates three skips of four, takes the gating signal from the coarser scale, and has no BatchNorm inside the
sum. Open: the base width of Table IV; `width=64` is the published two-dimensional network, 34.88M.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import DoubleConv, UpConv, downsample, level_widths
from taichinet.models.input_size import MAX_WIDTH, SIZE_MULTIPLE, check_input
from taichinet.models.settings import BaselineSettings


class AttentionUNetSettings(BaselineSettings):
    """Options of an attention U-Net; width 32 is the size of the paper's own U-Net, 8.73M."""

    width: int = Field(default=32, ge=2, le=MAX_WIDTH, multiple_of=2, description="channels of the first level")


class AttentionGate(nn.Module):
    """Weights a skip by where the coarser features look: (skip, gating), both (B, C, H, W) -> skip * psi."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.of_gating = nn.Sequential(nn.Conv2d(channels, hidden, kernel_size=1), nn.BatchNorm2d(hidden))
        self.of_skip = nn.Sequential(nn.Conv2d(channels, hidden, kernel_size=1), nn.BatchNorm2d(hidden))
        self.psi = nn.Sequential(nn.Conv2d(hidden, 1, kernel_size=1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """The gated skip; one weight a pixel for all channels."""
        weight: Tensor = self.psi(torch.relu(self.of_gating(gating) + self.of_skip(skip)))
        return skip * weight


class AttentionUNet(nn.Module):
    """U-Net with a gate on each of its four skips: image (B, C, H, W) -> Prediction."""

    def __init__(self, settings: AttentionUNetSettings | None = None) -> None:
        """Build it from `settings` (width 32, one input channel where None)."""
        super().__init__()
        self.settings = settings or AttentionUNetSettings()
        widths = level_widths(self.settings.width)
        inputs = (self.settings.in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip(inputs, widths, strict=True))
        deep_to_shallow = tuple(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(UpConv(deep, shallow) for deep, shallow in deep_to_shallow)
        self.gates = nn.ModuleList(AttentionGate(shallow) for _, shallow in deep_to_shallow)
        self.decoder = nn.ModuleList(DoubleConv(2 * shallow, shallow) for _, shallow in deep_to_shallow)
        self.output = nn.Conv2d(self.settings.width, self.settings.num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1], H and W multiples of 16 -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        skips = [self.encoder[0](image)]
        for level in self.encoder[1:]:
            skips.append(level(downsample(skips[-1])))
        features = skips.pop()
        for up, gate, block in zip(self.ups, self.gates, self.decoder, strict=True):
            raised = up(features)
            features = block(torch.cat([gate(skips.pop(), raised), raised], dim=1))
        return Prediction(positive=at_least_float32(self.output(features)))
