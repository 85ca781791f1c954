"""Geometry of the augmentation for ultrasound: one affine resampling, and the shape of the field of view."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

GEOMETRY = ("zoom", "crop", "translation", "rotation", "flip")


def affine_matrices(amounts: Mapping[str, tuple[Tensor, Tensor]], places: Tensor) -> Tensor:
    """Matrices from output to input coordinates in [-1, 1], on the CPU.

    Args:
        amounts: For each name of `GEOMETRY`, two independent amounts (N,), the identity where it is not applied.
        places: Uniform numbers for the position of the window, (N, 2).

    Returns:
        (N, 2, 3).
    """
    zoom, _ = amounts["zoom"]
    width, height = (share / zoom for share in amounts["crop"])  # of the window, relative to the image
    shift_x, shift_y = amounts["translation"]
    angle = amounts["rotation"][0] * (math.pi / 180)
    sign = 1 - 2 * amounts["flip"][0]
    centre_x = (2 * places[:, 0] - 1) * (1 - width).abs() - 2 * shift_x
    # A window that is higher than the image starts at its top: the tissue stays at the probe.
    centre_y = torch.where(height > 1, height - 1, (2 * places[:, 1] - 1) * (1 - height)) - 2 * shift_y
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [sign * cos * width, -sin * width, centre_x, sign * sin * height, cos * height, centre_y]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def resample(stack: Tensor, matrix: Tensor, mirror: Tensor) -> Tensor:
    """Resample a stack of images and masks.

    Args:
        stack: (B, N, H, W).
        matrix: From output to input coordinates, (B, 2, 3).
        mirror: (B, 1, 1), 1 for images that continue mirrored at the left and right edge, 0 for black.

    Returns:
        (B, N, H, W).
    """
    grid = F.affine_grid(matrix, list(stack.shape), align_corners=False)
    x = grid[..., 0]
    edge = 1 - 1 / stack.shape[-1]  # the centre of the last pixel
    grid[..., 0] = x + 2 * mirror * (x.clamp(-edge, edge) - x)
    return F.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def field_of_view(size: torch.Size, top: Tensor, places: Tensor) -> Tensor:
    """A trapezoid that widens with depth and has a curved bottom.

    Args:
        size: Height and width in pixels.
        top: Width of the top as a share of the image, (n, 1, 1, 1).
        places: Uniform numbers, (n, at least 4).

    Returns:
        1 inside and 0 outside, (n, 1, H, W).
    """
    y, x = (torch.linspace(-1, 1, side, device=top.device) for side in size)
    y, x = y.view(1, 1, -1, 1), x.view(1, 1, 1, -1)
    u = places[:, :, None, None, None].unbind(1)
    bottom = top + (1.3 - top) * (0.3 + 0.7 * u[0])
    half_width = top + (bottom - top) * (y + 1) / 2
    x = x - 0.2 * (u[1] - 0.5)
    lowest, curvature = 1 - 0.3 * u[2], 0.05 + 0.2 * u[3]
    return ((x.abs() <= half_width) & (y <= lowest - curvature * x.square())).float()
