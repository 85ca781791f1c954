"""Attention U-Net (Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018).

Certain: the gates, widths and parameter counts of the common two-dimensional version, which ultrasound papers use as a
baseline: the U-Net of Fig. 3 with an additive gate on each skip connection, after the up block. The authors' code is
three-dimensional and differs: it gates three of four skip connections, takes the gating signal from the coarser scale,
and has no BatchNorm inside the sum. Unknown: the base width used for Table IV. `width=64` is the published
two-dimensional network with 34.88M parameters.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import DoubleConv, UpConv, deep_to_shallow, encode, level_widths
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import MAX_WIDTH, SIZE_MULTIPLE, BaselineSettings, check_input


class AttentionUNetSettings(BaselineSettings):
    """Options of an Attention U-Net. Width 32 is that of the paper's U-Net and gives 8.73M parameters."""

    width: int = Field(default=32, ge=2, le=MAX_WIDTH, multiple_of=2, description="channels of the first level")


class AttentionGate(nn.Module):
    """Additive attention gate: (skip, gating), both (B, C, H, W) -> skip * psi."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.of_gating = nn.Sequential(nn.Conv2d(channels, hidden, kernel_size=1), nn.BatchNorm2d(hidden))
        self.of_skip = nn.Sequential(nn.Conv2d(channels, hidden, kernel_size=1), nn.BatchNorm2d(hidden))
        self.psi = nn.Sequential(nn.Conv2d(hidden, 1, kernel_size=1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """The gated skip features; one weight per pixel, shared by all channels."""
        weight: Tensor = self.psi(torch.relu(self.of_gating(gating) + self.of_skip(skip)))
        return skip * weight


class AttentionUNet(nn.Module):
    """U-Net with an attention gate on each of the four skip connections: image (B, C, H, W) -> Prediction."""

    def __init__(self, settings: AttentionUNetSettings | None = None) -> None:
        """Build the network; if `settings` is None, with width 32 and one input channel."""
        super().__init__()
        self.settings = settings or AttentionUNetSettings()
        widths = level_widths(self.settings.width)
        inputs = (self.settings.in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip(inputs, widths, strict=True))
        steps = deep_to_shallow(widths)
        self.ups = nn.ModuleList(UpConv(deep, shallow) for deep, shallow in steps)
        self.gates = nn.ModuleList(AttentionGate(shallow) for _, shallow in steps)
        self.decoder = nn.ModuleList(DoubleConv(2 * shallow, shallow) for _, shallow in steps)
        self.output = nn.Conv2d(self.settings.width, self.settings.num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1], H and W multiples of 16 -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        skips = encode(self.encoder, image)
        features = skips.pop()
        for up, gate, block in zip(self.ups, self.gates, self.decoder, strict=True):
            raised = up(features)
            features = block(torch.cat([gate(skips.pop(), raised), raised], dim=1))
        return Prediction(positive=at_least_float32(self.output(features)))


ENTRY = Entry(
    "Attention U-Net",
    AttentionUNetSettings,
    AttentionUNet,
    "Oktay et al., MIDL 2018",
    "high",
    Source(8_726_077, 25.48),
    note="The usual two-dimensional version; Table IV's base width is unknown.",
)
