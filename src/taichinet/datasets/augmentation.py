"""Augmentation: as in the paper (Sec. V-B), with quarter turns, rotations, gamma and stretch, or for ultrasound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import Batch
from taichinet.datasets.together import transform_together
from taichinet.datasets.ultrasound.settings import UltrasoundSettings
from taichinet.datasets.ultrasound.transforms import draw_ultrasound
from taichinet.settings import Settings


class AugmentationSettings(Settings):
    """Ranges as in the paper; `probability` is not in the paper.

    The paper's shear "rate in [0.6, 1.3]" is read as a stretch of one axis, the only reading in which 1 is the
    identity.
    """

    kind: Literal["paper", "ultrasound"] = Field(
        default="paper",
        description="of the paper, or for ultrasound; the settings of the other kind are not used",
    )
    probability: float = Field(
        default=0.5, ge=0, le=1, description="of each transformation of the paper for each image; 0: no augmentation"
    )
    quarter_turns: bool = Field(default=True, description="whether to rotate by multiples of 90 degrees")
    max_degrees: float = Field(default=10.0, ge=0, le=180, description="largest further rotation, in degrees")
    gamma: tuple[float, float] = Field(default=(0.5, 1.5), description="range of the exponent of the grey values")
    stretch: tuple[float, float] = Field(default=(0.6, 1.3), description="range of the stretch of one axis")
    ultrasound: UltrasoundSettings = Field(
        default=UltrasoundSettings(), description="transformations of the kind ultrasound"
    )

    @field_validator("gamma", "stretch")
    @classmethod
    def _positive_and_in_order(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0 < bounds[0] <= bounds[1] < math.inf:
            raise ValueError("give [least, greatest], both above 0")
        return bounds

    @property
    def is_off(self) -> bool:
        """Whether images are never changed, in the kind of the paper. For this, no random numbers are drawn."""
        return self.kind == "paper" and self.probability == 0

    def settings_in_use(self) -> dict[str, Any]:
        """The settings that affect the result, for digests. `kind` was added later, so the paper's have none."""
        if self.kind == "ultrasound":
            return {"kind": self.kind, "ultrasound": self.ultrasound.model_dump(mode="json")}
        return self.model_dump(mode="json", exclude={"kind", "ultrasound"})


class Transforms(Protocol):
    """Random transformations of the images of a batch."""

    def apply(self, batch: Batch) -> Batch:
        """Transform each image of a batch on the same device, and its masks with it; masks are 0 or 1."""


@dataclass(frozen=True)
class PaperTransforms:
    """Random transformations as in the paper.

    Attributes:
        matrix: (B, 2, 3), from output to input coordinates in [-1, 1].
        gamma: (B, 1, 1, 1), exponent of the grey values.
    """

    matrix: Tensor
    gamma: Tensor

    def apply(self, batch: Batch) -> Batch:
        """Transform each image of a batch on the same device, and its masks with it.

        All geometric transformations are one resampling.
        """
        moved = transform_together(batch, self._move)
        return replace(moved, image=moved.image.clamp(0, 1) ** self.gamma)

    def _move(self, stack: Tensor) -> Tensor:
        grid = F.affine_grid(self.matrix, list(stack.shape), align_corners=False)
        return F.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def draw_transforms(
    sizes: Sequence[int], settings: AugmentationSettings, generator: torch.Generator, device: torch.device
) -> list[Transforms]:
    """Draw the transformations of all batches of an epoch, so that they are copied to the device at once.

    Args:
        sizes: Number of images of each batch.
        settings: Kind, ranges and probabilities.
        generator: Generator on the CPU, so that the draws are the same for all devices.
        device: Device of the batches.

    Returns:
        The transformations of each batch, on `device`.
    """
    if settings.kind == "ultrasound":
        return [*draw_ultrasound(sizes, settings.ultrasound, generator, device)]
    drawn = [
        (
            _draw_affine(size, settings, generator),
            _draw(size, settings.probability, *settings.gamma, 1.0, generator),
        )
        for size in sizes
    ]
    matrices = torch.cat([matrix for matrix, _ in drawn]).to(device)
    gammas = torch.cat([gamma for _, gamma in drawn]).view(-1, 1, 1, 1).to(device)
    parts = zip(matrices.split(list(sizes)), gammas.split(list(sizes)), strict=True)
    return [PaperTransforms(matrix, gamma) for matrix, gamma in parts]


def _draw_affine(count: int, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    """(count, 2, 3) matrices from output to input coordinates in [-1, 1]: rotation after a stretch of one axis."""
    p = settings.probability
    turns = torch.randint(1, 4, (count,), generator=generator) * (torch.rand(count, generator=generator) < p)
    degrees = _draw(count, p, -settings.max_degrees, settings.max_degrees, 0.0, generator)
    angle = degrees * math.pi / 180 + (turns * math.pi / 2 if settings.quarter_turns else 0)
    factor = _draw(count, p, *settings.stretch, 1.0, generator)
    horizontal = torch.rand(count, generator=generator) < 0.5
    scale_x = torch.where(horizontal, 1 / factor, torch.ones(count))
    scale_y = torch.where(horizontal, torch.ones(count), 1 / factor)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros(count)
    rows = [
        torch.stack([cos * scale_x, -sin * scale_x, zero], 1),
        torch.stack([sin * scale_y, cos * scale_y, zero], 1),
    ]
    return torch.stack(rows, dim=1)


def _draw(
    count: int, probability: float, low: float, high: float, identity: float, generator: torch.Generator
) -> Tensor:
    """Uniform draws in [low, high], `identity` with the remaining probability."""
    values = low + (high - low) * torch.rand(count, generator=generator)
    keep = torch.rand(count, generator=generator) < probability
    return torch.where(keep, values, torch.full((count,), identity))
