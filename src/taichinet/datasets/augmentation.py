"""Augmentation as in the paper (Sec. V-B): quarter turns, rotations, gamma, stretch; image and masks together."""

from __future__ import annotations

import math

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


def augment(batch: Batch, settings: AugmentationSettings, generator: torch.Generator) -> Batch:
    """Transform each image of a batch by its own random draw.

    All geometric transformations are one resampling. Masks are interpolated with the image and thresholded at 0.5,
    which keeps E_p and H_p disjoint and inside the lesion, since interpolation weights sum to one. The probability of
    a teacher is interpolated without a threshold.

    Args:
        batch: Images and masks on any device.
        settings: Ranges and probability.
        generator: Generator on the CPU, so that the draws are the same for all devices.

    Returns:
        A new batch on the same device; masks are 0 or 1.
    """
    if settings.probability == 0:
        return batch
    count = len(batch.image)
    matrix = _draw_affine(count, settings, generator).to(batch.image.device)
    gamma = _draw(count, settings.probability, *settings.gamma, 1.0, generator).to(batch.image.device)
    masks = [mask for mask in (batch.lesion, batch.easy, batch.hard) if mask is not None]
    soft = [] if batch.teacher_probability is None else [batch.teacher_probability]
    stack = torch.cat([batch.image, *masks, *soft], dim=1)
    grid = F.affine_grid(matrix, list(stack.shape), align_corners=False)
    moved = F.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    channels = [part.shape[1] for part in (batch.image, *masks, *soft)]
    image, *others = torch.split(moved, channels, dim=1)
    parts = iter((mask > 0.5).float() for mask in others[: len(masks)])
    return Batch(
        image=image.clamp(0, 1) ** gamma.view(-1, 1, 1, 1),
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
