"""Nearest x2 upsampling of channels-last features on a GPU, and its gradient.

PyTorch's kernels take 1.9 of 20 ms of a training step of TaiChiNet on an H200, far more than reading and writing the
features once (results/benchmarks/gpu_kernels-nvidia-h200.txt).
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# The kernels are compiled by Triton; their arguments are pointers and numbers.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE = 4096  # values of a tile of the small features
_WARPS = 8


@triton.jit
def _enlarge(x, y, rows, width, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Copy each row of `x`, the channels of a pixel, to four rows of `y`."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    value = tl.load(x + row.to(tl.int64)[:, None] * columns + column[None, :], inside)
    first = _first_row(row, width)
    for down in tl.static_range(2):
        for right in tl.static_range(2):
            offsets = (first + down * 2 * width + right)[:, None] * columns + column[None, :]
            tl.store(y + offsets, value, inside)


@triton.jit
def _reduce(grad, dx, rows, width, columns, stride, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Sum four rows of `grad`, which are `stride` values apart, to each row of `dx`."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    first = _first_row(row, width)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for down in tl.static_range(2):
        for right in tl.static_range(2):
            offsets = (first + down * 2 * width + right)[:, None] * stride + column[None, :]
            total += tl.load(grad + offsets, inside, other=0.0).to(tl.float32)
    offsets = row.to(tl.int64)[:, None] * columns + column[None, :]
    tl.store(dx + offsets, total.to(dx.dtype.element_ty), inside)


@triton.jit
def _first_row(row, width):
    """Row of the upper left of the four large pixels of a small pixel."""
    return (row // width).to(tl.int64) * 4 * width + 2 * (row % width)


class _Enlarged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        y = _empty((batch, channels, 2 * height, 2 * width), x)
        _enlarge[_grid(x)](x, y, batch * height * width, width, channels, **_tile(channels))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad, stride = rows_of(grad)
        batch, channels, height, width = grad.shape
        dx = _empty((batch, channels, height // 2, width // 2), grad)
        rows = batch * (height // 2) * (width // 2)
        _reduce[_grid(dx)](grad, dx, rows, width // 2, channels, stride, **_tile(channels))
        return dx


def enlarged(features: Tensor) -> Tensor:
    """Nearest x2 upsampling, (B, C, H, W) -> (B, C, 2H, 2W) in channels-last layout."""
    result: Tensor = _Enlarged.apply(features.contiguous(memory_format=torch.channels_last))
    return result


def rows_of(grad: Tensor) -> tuple[Tensor, int]:
    """The pixels of `grad` (B, C, H, W) as equally spaced rows of channels.

    These are channels-last layout, and some of the channels of a larger tensor in that layout, as after a
    concatenation. Other layouts are copied.

    Returns:
        `grad` or a copy, and the distance of two rows.
    """
    (_, channels, height, width), stride = grad.shape, grad.stride(3)
    if stride >= channels and grad.stride() == (height * width * stride, 1, width * stride, stride):
        return grad, stride
    return grad.contiguous(memory_format=torch.channels_last), channels


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _tile(channels: int) -> dict[str, int]:
    columns = 32 if channels <= 32 else 64
    return {"ROWS": _TILE // columns, "COLUMNS": columns, "num_warps": _WARPS}


def _grid(small: Tensor) -> tuple[int, int]:
    tile = _tile(small.shape[1])
    rows = small.numel() // small.shape[1]
    return triton.cdiv(rows, tile["ROWS"]), triton.cdiv(small.shape[1], tile["COLUMNS"])
