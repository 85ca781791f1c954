"""Random transformations of an epoch for ultrasound: drawn on the CPU, applied to batches on their device.

A transformation is computed only for the images that were drawn for it. Their positions in the batch are known when
they are drawn, so nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from taichinet.batch import Batch
from taichinet.datasets.together import transform_together
from taichinet.datasets.ultrasound.appearance import APPEARANCES, Textures, draw_textures
from taichinet.datasets.ultrasound.geometry import GEOMETRY, affine_matrices, field_of_view, resample
from taichinet.datasets.ultrasound.marks import PLACES
from taichinet.datasets.ultrasound.settings import Effect, UltrasoundSettings

_NAMES = (*GEOMETRY, "sector", *APPEARANCES)
_PARTIAL = ("sector", *APPEARANCES)
_IDENTITY = {"zoom": 1.0, "crop": 1.0}  # the identity of the other parts of the geometry is 0


@dataclass(frozen=True)
class Rows:
    """The images of a batch with one transformation.

    Attributes:
        index: Their positions in the batch, (n,).
        amount: (n, 1, 1, 1).
        places: Further uniform numbers, (n, PLACES).
    """

    index: Tensor
    amount: Tensor
    places: Tensor


@dataclass(frozen=True)
class UltrasoundTransforms:
    """Random transformations of the images of a batch.

    Attributes:
        matrix: (B, 2, 3), from output to input coordinates in [-1, 1]; None without geometry.
        mirror: (B, 1, 1), 1 for images that continue mirrored at the left and right edge.
        rows: The images with each other transformation; a transformation without images is left out.
        textures: Textures of the epoch.
    """

    matrix: Tensor | None
    mirror: Tensor
    rows: dict[str, Rows]
    textures: Textures

    def apply(self, batch: Batch) -> Batch:
        """Transform each image of a batch, and its masks with it.

        Args:
            batch: Images and masks on the same device.

        Returns:
            A new batch on the same device; masks are 0 or 1.
        """
        moved = transform_together(batch, self._move)
        image = moved.image.clamp_(0, 1)
        for name, appearance in APPEARANCES.items():
            if rows := self.rows.get(name):
                changed = appearance(image[rows.index], rows.amount, rows.places, self.textures)
                image.index_copy_(0, rows.index, changed.clamp_(0, 1))
        return replace(moved, image=image)

    def _move(self, stack: Tensor) -> Tensor:
        if self.matrix is not None:
            stack = resample(stack, self.matrix, self.mirror)
        if rows := self.rows.get("sector"):
            inside = field_of_view(stack.shape[-2:], rows.amount, rows.places)
            stack.index_copy_(0, rows.index, stack[rows.index] * inside)
        return stack


def draw_ultrasound(
    sizes: Sequence[int], settings: UltrasoundSettings, generator: torch.Generator, device: torch.device
) -> list[UltrasoundTransforms]:
    """Draw the transformations of all batches of an epoch, so that they are copied to the device at once.

    The numbers of a transformation do not depend on the settings of the others.

    Args:
        sizes: Number of images of each batch.
        settings: Probabilities and ranges.
        generator: Generator on the CPU, so that the draws are the same for all devices.
        device: Device of the batches.

    Returns:
        The transformations of each batch, on `device`.
    """
    total = sum(sizes)
    chances = torch.tensor([getattr(settings, name).probability for name in _NAMES])
    applied = torch.rand(total, len(_NAMES), generator=generator) < chances
    uniform = torch.rand(total, len(_NAMES), 2 + PLACES, generator=generator)
    textures = draw_textures(generator).to(device)
    matrices, mirrors = (part.to(device).split(list(sizes)) for part in _geometry(settings, applied, uniform))
    partial = _partial_rows(sizes, settings, applied, uniform, device)
    moves = any(getattr(settings, name).probability for name in GEOMETRY)
    return [
        UltrasoundTransforms(matrix if moves else None, mirror, rows, textures)
        for matrix, mirror, rows in zip(matrices, mirrors, partial, strict=True)
    ]


def _amount(settings: UltrasoundSettings, name: str, uniform: Tensor) -> Tensor:
    effect = getattr(settings, name)
    low, high = effect.range if isinstance(effect, Effect) else (1.0, 1.0)
    return low + (high - low) * uniform


def _geometry(settings: UltrasoundSettings, applied: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices (N, 2, 3), and which images continue mirrored at their sides (N, 1, 1)."""
    amounts = {}
    for column, name in enumerate(GEOMETRY):
        drawn = _amount(settings, name, uniform[:, column, :2])
        values = torch.where(applied[:, column, None], drawn, torch.full_like(drawn, _IDENTITY.get(name, 0.0)))
        amounts[name] = (values[:, 0], values[:, 1])
    places = uniform[:, _NAMES.index("zoom"), 2:]
    return affine_matrices(amounts, places[:, :2]), (places[:, 2] < 0.5).float().view(-1, 1, 1)


def _partial_rows(
    sizes: Sequence[int], settings: UltrasoundSettings, applied: Tensor, uniform: Tensor, device: torch.device
) -> list[dict[str, Rows]]:
    """For each batch, the images with each transformation that is computed for a part of the images."""
    keys, indices, values = [], [], []
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        for name in _PARTIAL:
            column = _NAMES.index(name)
            index = applied[start : start + size, column].nonzero()[:, 0]
            if len(index):
                keys.append((number, name))
                indices.append(index)
                drawn = uniform[start + index, column]
                values.append(torch.cat([_amount(settings, name, drawn[:, :1]), drawn[:, 2:]], dim=1))
    rows: list[dict[str, Rows]] = [{} for _ in sizes]
    if not keys:
        return rows
    counts = [len(index) for index in indices]
    indices_there, values_there = (torch.cat(parts).to(device).split(counts) for parts in (indices, values))
    for (number, name), index, value in zip(keys, indices_there, values_there, strict=True):
        rows[number][name] = Rows(index, value[:, :1, None, None], value[:, 1:])
    return rows
