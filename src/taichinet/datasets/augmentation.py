"""Augmentation as in the paper (Sec. V-B): quarter turns, rotations, gamma, stretch; image and masks together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import Batch
from taichinet.settings import Settings


class AugmentationSettings(Settings):
    """Ranges as in the paper; `probability` (not in the paper) is that of each transformation for each image.

    The paper's shear "rate in [0.6, 1.3]" is read as a stretch of one axis, the only reading in which 1 is the
    identity.
    """

    probability: float = Field(default=0.5, ge=0, le=1)
    quarter_turns: bool = True
    max_degrees: float = Field(default=10.0, ge=0, le=180)
    gamma: tuple[float, float] = (0.5, 1.5)
    stretch: tuple[float, float] = (0.6, 1.3)

    @field_validator("gamma", "stretch")
    @classmethod
    def _positive_and_in_order(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0 < bounds[0] <= bounds[1] < math.inf:
            raise ValueError("give [least, greatest], both above 0")
        return bounds


@dataclass(frozen=True)
class Transforms:
    """Random transformations of the images of a batch.

    Attributes:
        matrix: (B, 2, 3), from output to input coordinates in [-1, 1].
        gamma: (B, 1, 1, 1), exponent of the grey values.
    """

    matrix: Tensor
    gamma: Tensor


def draw_transforms(
    sizes: Sequence[int], settings: AugmentationSettings, generator: torch.Generator, device: torch.device
) -> list[Transforms]:
    """Draw the transformations of all batches of an epoch, so that they are copied to the device at once.

    Args:
        sizes: Number of images of each batch.
        settings: Ranges and probability.
        generator: Generator on the CPU, so that the draws are the same for all devices.
        device: Device of the batches.

    Returns:
        The transformations of each batch, on `device`.
    """
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
    return [Transforms(matrix, gamma) for matrix, gamma in parts]


def augment(batch: Batch, transforms: Transforms) -> Batch:
    """Transform each image of a batch, and its masks with it.

    All geometric transformations are one resampling. Masks are interpolated with the image and thresholded at 0.5,
    which keeps E_p and H_p disjoint and inside the lesion, since interpolation weights sum to one. The probability of
    a teacher is interpolated without a threshold.

    Args:
        batch: Images and masks on any device.
        transforms: Transformations on the same device.

    Returns:
        A new batch on the same device; masks are 0 or 1.
    """
    masks = [mask for mask in (batch.lesion, batch.easy, batch.hard) if mask is not None]
    soft = [] if batch.teacher_probability is None else [batch.teacher_probability]
    stack = torch.cat([batch.image, *masks, *soft], dim=1)
    grid = F.affine_grid(transforms.matrix, list(stack.shape), align_corners=False)
    moved = F.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    channels = [part.shape[1] for part in (batch.image, *masks, *soft)]
    image, *others = torch.split(moved, channels, dim=1)
    parts = iter((mask > 0.5).float() for mask in others[: len(masks)])
    return Batch(
        image=image.clamp(0, 1) ** transforms.gamma,
        lesion=next(parts),
        easy=None if batch.easy is None else next(parts),
        hard=None if batch.hard is None else next(parts),
        teacher_probability=others[-1] if soft else None,
    )


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
