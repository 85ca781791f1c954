"""Gauss-Newton alignment of two pictures' fine detail by scale and shift, and how well it then correlates."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from taichinet.datasets.duplicates.patches import Candidates
from taichinet.datasets.duplicates.views import FloatArray

STEPS = 6
PIXELS_AT_ONCE = 2**18  # 113 pairs at 48², 28 at 96²: fewer cost more calls, more leave the processor's cache
SMALLEST_OVERLAP = 0.25  # share of either picture; less is too little evidence
LONGEST_STEP = 0.05  # a longer one leaves the reach of the gradient
SCALES = (0.4, 2.5)


def align(detail: Tensor, starts: Candidates, steps: int = STEPS) -> tuple[FloatArray, FloatArray]:
    """Best correlation (pairs,) and transform (pairs, 4) that `steps` steps find from each start.

    `starts` number the pictures of `detail` (N, S, S).
    """
    at_once = max(1, PIXELS_AT_ONCE // detail[0].numel()) if len(detail) else 1
    correlations, transforms = [np.empty(0, np.float32)], [np.empty((0, 4), np.float32)]
    for begin in range(0, len(starts), at_once):
        part = starts.where(slice(begin, begin + at_once))
        fixed, moving = detail[torch.from_numpy(part.first)], detail[torch.from_numpy(part.second)]
        correlation, transform = _align_batch(fixed, moving, torch.from_numpy(part.transform), steps)
        correlations.append(correlation.numpy())
        transforms.append(transform.numpy())
    return np.concatenate(correlations), np.concatenate(transforms)


def _align_batch(fixed: Tensor, moving: Tensor, transform: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """`fixed` (B, S, S) against `moving` (B, S, S) from `transform` (B, 4) on.

    Each step solves  fixed = gain * moving + offset + gain * (gradient · change)  by least squares. All sums that this
    and the correlation need are products of seven rows: value, inside, the four changes, and target.
    """
    slopes = _with_slopes(moving)
    best = torch.full((len(fixed),), -1.0)
    kept = transform
    for step in range(steps + 1):
        sums = _products(fixed, slopes, transform)
        correlation = _correlation(sums, transform, fixed[0].numel())
        better = correlation > best
        best, kept = torch.where(better, correlation, best), torch.where(better[:, None], transform, kept)
        if step < steps:
            transform = _stepped(transform, sums)
    return best, kept


def _products(fixed: Tensor, slopes: Tensor, transform: Tensor) -> Tensor:
    """Products (B, 7, 7) of value, inside, x dx, dx, y dy, dy and target, over the pixels inside both pictures."""
    side = fixed.shape[-1]
    centres = (torch.arange(side) + 0.5) / side
    x_scale, x_shift, y_scale, y_shift = (column[:, None] for column in transform.unbind(1))
    to_x, to_y = x_scale * centres + x_shift, y_scale * centres + y_shift
    inside = ((to_y > 0) & (to_y < 1))[:, :, None] & ((to_x > 0) & (to_x < 1))[:, None, :]
    grid = torch.empty(*fixed.shape, 2)
    grid[..., 0], grid[..., 1] = (2 * to_x - 1)[:, None, :], (2 * to_y - 1)[:, :, None]
    warped = F.grid_sample(slopes, grid, align_corners=False)
    rows = torch.empty(len(fixed), 7, side, side)
    rows[:, 0], rows[:, 1], rows[:, 3], rows[:, 5], rows[:, 6] = warped[:, 0], 1, warped[:, 1], warped[:, 2], fixed
    torch.mul(warped[:, 1], centres, out=rows[:, 2])
    torch.mul(warped[:, 2], centres[:, None], out=rows[:, 4])
    flat = (rows * inside[:, None]).flatten(2)
    return flat @ flat.mT


def _stepped(transform: Tensor, sums: Tensor) -> Tensor:
    """`transform` (B, 4) after one step, its scales kept within bounds."""
    normal, right = sums[:, :6, :6], sums[:, :6, 6:]
    ridge = torch.diag_embed(1e-3 * normal.diagonal(dim1=1, dim2=2) + 1e-3)  # solvable for empty overlaps, too
    solved = torch.linalg.solve(normal + ridge, right)[..., 0]
    change = solved[:, 2:] / solved[:, :1].clamp(min=0.2)
    moved: Tensor = transform + change.clamp(-LONGEST_STEP, LONGEST_STEP)
    moved[:, 0::2] = moved[:, 0::2].clamp(*SCALES)
    return moved


def _correlation(sums: Tensor, transform: Tensor, pixels: int) -> Tensor:
    """Correlation (B,) of value and target inside; 0 where either is flat, -1 where too little overlaps."""
    value, inside, target = 0, 1, 6
    inside_count = sums[:, inside, inside]
    count = inside_count.clamp(min=1)
    value_mean, target_mean = sums[:, value, inside] / count, sums[:, target, inside] / count
    covariance = sums[:, value, target] / count - target_mean * value_mean
    target_variance = sums[:, target, target] / count - target_mean**2
    value_variance = sums[:, value, value] / count - value_mean**2
    correlation = covariance / torch.sqrt(target_variance.clamp(min=1e-4) * value_variance.clamp(min=1e-4))
    smaller = inside_count / pixels * torch.clamp(transform[:, 0] * transform[:, 2], max=1.0)
    return torch.where(smaller >= SMALLEST_OVERLAP, correlation, -1.0)


def _with_slopes(detail: Tensor) -> Tensor:
    """(B, S, S) -> (B, 3, S, S): the picture and its slopes per unit of the 0-to-1 coordinates."""
    half_side = detail.shape[-1] / 2
    views = torch.zeros(len(detail), 3, *detail.shape[1:])
    views[:, 0] = detail
    views[:, 1, :, 1:-1] = (detail[:, :, 2:] - detail[:, :, :-2]) * half_side
    views[:, 2, 1:-1] = (detail[:, 2:] - detail[:, :-2]) * half_side
    return views
