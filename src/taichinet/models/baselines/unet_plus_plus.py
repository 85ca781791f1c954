"""U-Net++ (Zhou et al., TMI 2020), nested and deeply supervised: 9.16M parameters at width 32.

It is used as a baseline of Table IV and in the mining stage that determines easy and hard pixels (Sec. IV-C). Certain:
the node graph, widths and parameter counts, which equal those of the common PyTorch version (bilinear upsampling
without parameters, BatchNorm). The Keras version of the authors has transposed convolutions and dropout.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.blocks import DoubleConv, downsample, level_widths
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import MAX_WIDTH, BaselineSettings, check_input

DEPTH = 5


class UNetPlusPlusSettings(BaselineSettings):
    """Options of a U-Net++. With `deep_supervision`, it has four outputs instead of one."""

    width: int = Field(default=32, ge=1, le=MAX_WIDTH, description="channels of the first level")
    deep_supervision: bool = Field(default=True, description="four outputs instead of one")

    def for_second_path(self) -> Self:
        """Settings of the second network: without deep supervision."""
        return self.model_copy(update={"deep_supervision": False})


class UNetPlusPlus(nn.Module):
    """U-Net++ with nodes X(i, j) at level i and column j; the outputs 1 to 4 are computed from X(0, 1) to X(0, 4)."""

    def __init__(self, settings: UNetPlusPlusSettings | None = None) -> None:
        """Build the network; if `settings` is None, with one input channel and four outputs."""
        super().__init__()
        self.settings = settings or UNetPlusPlusSettings()
        widths = level_widths(self.settings.width)
        nodes = {}
        for level in range(DEPTH):
            above = self.settings.in_channels if level == 0 else widths[level - 1]
            nodes[_name(level, 0)] = DoubleConv(above, widths[level])
            for column in range(1, DEPTH - level):
                dense = column * widths[level] + widths[level + 1]
                nodes[_name(level, column)] = DoubleConv(dense, widths[level])
        self.nodes = nn.ModuleDict(nodes)
        outputs = DEPTH - 1 if self.settings.deep_supervision else 1
        self.outputs = nn.ModuleList(
            nn.Conv2d(self.settings.width, self.settings.num_classes, kernel_size=1) for _ in range(outputs)
        )

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1], H and W multiples of 16 -> Prediction with one path.

        With deep supervision, `levels` holds the outputs 1 to 4, the last equal to `positive`.
        """
        check_input(image, self.settings.in_channels)
        grid: dict[tuple[int, int], Tensor] = {}
        for level in range(DEPTH):
            below = image if level == 0 else downsample(grid[level - 1, 0])
            grid[level, 0] = self.nodes[_name(level, 0)](below)
        for column in range(1, DEPTH):
            for level in range(DEPTH - column):
                raised = F.interpolate(grid[level + 1, column - 1], scale_factor=2, mode="bilinear", align_corners=True)
                dense = torch.cat([*(grid[level, left] for left in range(column)), raised], dim=1)
                grid[level, column] = self.nodes[_name(level, column)](dense)
        if not self.settings.deep_supervision:
            return Prediction(positive=at_least_float32(self.outputs[0](grid[0, DEPTH - 1])))
        levels = tuple(at_least_float32(output(grid[0, column])) for column, output in enumerate(self.outputs, start=1))
        return Prediction(positive=levels[-1], levels=levels)


def _name(level: int, column: int) -> str:
    return f"x{level}_{column}"


ENTRY = Entry(
    "U-Net++",
    UNetPlusPlusSettings,
    UNetPlusPlus,
    "Zhou et al., TMI 2020",
    "high",
    Source(9_163_428, 52.82),
    note="The usual PyTorch version; the authors' own has transposed convolutions and dropout, no BatchNorm.",
)
