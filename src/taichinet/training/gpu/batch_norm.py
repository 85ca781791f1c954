"""BatchNorm and ReLU or ReLU6 in one pass over memory, for channels-last features on a GPU.

PyTorch's kernels for bf16 channels-last features take 8 of the 29 ms of a training step of TaiChiNet on an H200
(results/benchmarks/step_profile-nvidia-h200.txt). A step of this module reads or writes the features eight times:
statistics 1, normalisation 2, sums of the backward pass 2, gradient 3.

The features are a matrix of N*H*W rows and C columns. Programs are a grid of (parts of the rows, blocks of columns).
Sums have a fixed order, so results are reproducible.
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

from taichinet.training.gpu.upsampling import rows_of

_TILE = 8192  # values of a tile
_PARTS = 396  # at most this many parts of the rows; three programs for each of the 132 multiprocessors of an H100
_MERGED = 512  # parts that are merged at a time
_MERGED_COLUMNS = 16
_WARPS = 8


@triton.jit
def _statistics(x, means, squares, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Mean and sum of squared deviations of each column over a part of the rows (Chan, Golub, LeVeque 1979)."""
    part, parts = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    valid = column < columns
    count = 0.0
    mean = tl.zeros([COLUMNS], tl.float32)
    square = tl.zeros([COLUMNS], tl.float32)
    for first in range(part * ROWS, rows, parts * ROWS):
        row = first + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & valid[None, :]
        offsets = row.to(tl.int64)[:, None] * columns + column[None, :]
        value = tl.load(x + offsets, inside, other=0.0).to(tl.float32)
        more = tl.minimum(rows - first, ROWS).to(tl.float32)
        tile_mean = tl.sum(value, 0) / more
        deviation = tl.where(inside, value - tile_mean[None, :], 0.0)
        difference = tile_mean - mean
        total = count + more
        mean += difference * (more / total)
        square += tl.sum(deviation * deviation, 0) + difference * difference * (count * more / total)
        count = total
    tl.store(means + part * columns + column, mean, valid)
    tl.store(squares + part * columns + column, square, valid)


@triton.jit
def _merge_statistics(
    means, squares, conv_bias, running_mean, running_var, mean_out, scale_out, rows, columns, parts, momentum, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, MERGED: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Mean and 1 / SD of each column from those of the parts, and the update of the running statistics."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    valid = column < columns
    mean = tl.zeros([COLUMNS], tl.float32)
    for first in range(0, parts, MERGED):
        part = first + tl.arange(0, MERGED)
        inside = (part < parts)[:, None] & valid[None, :]
        count = _count(part, rows, parts, ROWS)
        part_mean = tl.load(means + part[:, None] * columns + column[None, :], inside, other=0.0)
        mean += tl.sum(part_mean * (count / rows)[:, None], 0)
    square = tl.zeros([COLUMNS], tl.float32)
    for first in range(0, parts, MERGED):
        part = first + tl.arange(0, MERGED)
        inside = (part < parts)[:, None] & valid[None, :]
        count = _count(part, rows, parts, ROWS)
        offsets = part[:, None] * columns + column[None, :]
        difference = tl.load(means + offsets, inside, other=0.0) - mean[None, :]
        part_square = tl.load(squares + offsets, inside, other=0.0)
        square += tl.sum(tl.where(inside, part_square + difference * difference * count[:, None], 0.0), 0)
    tl.store(mean_out + column, mean, valid)
    tl.store(scale_out + column, 1 / tl.sqrt_rn(square / rows + eps), valid)
    if HAS_BIAS:  # the running mean is that of the convolution with its bias
        mean += tl.load(conv_bias + column, valid, other=0.0)
    old_mean = tl.load(running_mean + column, valid, other=0.0)
    old_var = tl.load(running_var + column, valid, other=0.0)
    tl.store(running_mean + column, old_mean + momentum * (mean - old_mean), valid)
    tl.store(running_var + column, old_var + momentum * (square / (rows - 1) - old_var), valid)


@triton.jit
def _count(part, rows, parts, ROWS: tl.constexpr):
    """Number of rows of each part, 0 beyond the last part. A part has every `parts`-th tile of ROWS rows."""
    tiles = (rows + ROWS - 1) // ROWS
    own = (tiles - part + parts - 1) // parts
    has_last = (tiles - 1) % parts == part
    count = own * ROWS - tl.where(has_last, tiles * ROWS - rows, 0)
    return tl.where(part < parts, count, 0).to(tl.float32)


@triton.jit
def _normalise(
    x, y, mean, scale, weight, bias, rows, columns, LIMIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    valid = column < columns
    factor = tl.load(scale + column, valid, other=0.0) * tl.load(weight + column, valid, other=0.0)
    centre = tl.load(mean + column, valid, other=0.0)
    shift = tl.load(bias + column, valid, other=0.0)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = (row < rows)[:, None] & valid[None, :]
    offsets = row.to(tl.int64)[:, None] * columns + column[None, :]
    value = tl.load(x + offsets, inside, other=0.0).to(tl.float32)
    value = (value - centre[None, :]) * factor[None, :] + shift[None, :]
    if LIMIT > 0:
        value = tl.minimum(tl.maximum(value, 0.0), LIMIT)
    tl.store(y + offsets, value.to(y.dtype.element_ty), inside)


@triton.jit
def _gradient_sums(
    grad, x, mean, scale, weight, bias, sums, products, rows, columns, stride,
    LIMIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Sums of the gradient, and of its product with the normalised features, over a part of the rows."""
    part, parts = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    valid = column < columns
    centre = tl.load(mean + column, valid, other=0.0)
    inverse = tl.load(scale + column, valid, other=0.0)
    gain = tl.load(weight + column, valid, other=0.0)
    shift = tl.load(bias + column, valid, other=0.0)
    total = tl.zeros([COLUMNS], tl.float32)
    product = tl.zeros([COLUMNS], tl.float32)
    for first in range(part * ROWS, rows, parts * ROWS):
        row = first + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & valid[None, :]
        offsets = row.to(tl.int64)[:, None] * columns + column[None, :]
        normal = (tl.load(x + offsets, inside, other=0.0).to(tl.float32) - centre[None, :]) * inverse[None, :]
        incoming = tl.load(grad + row.to(tl.int64)[:, None] * stride + column[None, :], inside, other=0.0).to(
            tl.float32
        )
        if LIMIT > 0:
            value = normal * gain[None, :] + shift[None, :]
            incoming = tl.where((value > 0) & (value < LIMIT), incoming, 0.0)
        total += tl.sum(incoming, 0)
        product += tl.sum(incoming * normal, 0)
    tl.store(sums + part * columns + column, total, valid)
    tl.store(products + part * columns + column, product, valid)


@triton.jit
def _merge_sums(sums, products, sum_out, product_out, columns, parts, COLUMNS: tl.constexpr, MERGED: tl.constexpr):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    valid = column < columns
    total = tl.zeros([COLUMNS], tl.float32)
    product = tl.zeros([COLUMNS], tl.float32)
    for first in range(0, parts, MERGED):
        part = first + tl.arange(0, MERGED)
        inside = (part < parts)[:, None] & valid[None, :]
        offsets = part[:, None] * columns + column[None, :]
        total += tl.sum(tl.load(sums + offsets, inside, other=0.0), 0)
        product += tl.sum(tl.load(products + offsets, inside, other=0.0), 0)
    tl.store(sum_out + column, total, valid)
    tl.store(product_out + column, product, valid)


@triton.jit
def _input_gradient(
    grad, x, dx, mean, scale, weight, bias, sums, products, rows, columns, stride,
    LIMIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    valid = column < columns
    centre = tl.load(mean + column, valid, other=0.0)
    inverse = tl.load(scale + column, valid, other=0.0)
    gain = tl.load(weight + column, valid, other=0.0)
    shift = tl.load(bias + column, valid, other=0.0)
    mean_gradient = tl.load(sums + column, valid, other=0.0) / rows
    mean_product = tl.load(products + column, valid, other=0.0) / rows
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = (row < rows)[:, None] & valid[None, :]
    offsets = row.to(tl.int64)[:, None] * columns + column[None, :]
    normal = (tl.load(x + offsets, inside, other=0.0).to(tl.float32) - centre[None, :]) * inverse[None, :]
    incoming = tl.load(grad + row.to(tl.int64)[:, None] * stride + column[None, :], inside, other=0.0).to(tl.float32)
    if LIMIT > 0:
        value = normal * gain[None, :] + shift[None, :]
        incoming = tl.where((value > 0) & (value < LIMIT), incoming, 0.0)
    outgoing = (incoming - mean_gradient[None, :] - normal * mean_product[None, :]) * (gain * inverse)[None, :]
    tl.store(dx + offsets, outgoing.to(dx.dtype.element_ty), inside)


class _Grid:
    """Sizes of tiles and grids for features (N, C, H, W)."""

    def __init__(self, features: Tensor) -> None:
        self.columns = features.shape[1]
        self.rows = features.numel() // self.columns
        self.tile_columns = 32 if self.columns <= 32 else 64
        self.tile_rows = _TILE // self.tile_columns
        self.tiles = triton.cdiv(self.rows, self.tile_rows)
        self.parts = min(self.tiles, _PARTS)
        self.blocks = triton.cdiv(self.columns, self.tile_columns)
        self.tile = {"ROWS": self.tile_rows, "COLUMNS": self.tile_columns, "num_warps": _WARPS}
        self.merge = {"COLUMNS": _MERGED_COLUMNS, "MERGED": _MERGED, "num_warps": _WARPS}
        self.merged_blocks = triton.cdiv(self.columns, _MERGED_COLUMNS)

    def partial(self, like: Tensor) -> Tensor:
        """One float32 value per part and column."""
        return like.new_empty((self.parts, self.columns), dtype=torch.float32)

    def per_column(self, like: Tensor) -> Tensor:
        """One float32 value per column."""
        return like.new_empty(self.columns, dtype=torch.float32)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        conv_bias: Tensor | None,
        norm: torch.nn.BatchNorm2d,
        limit: float,
    ) -> Tensor:
        grid = _Grid(x)
        means, squares = grid.partial(x), grid.partial(x)
        mean, scale = grid.per_column(x), grid.per_column(x)
        _statistics[(grid.parts, grid.blocks)](x, means, squares, grid.rows, grid.columns, **grid.tile)
        _merge_statistics[(grid.merged_blocks,)](
            means, squares, mean if conv_bias is None else conv_bias, norm.running_mean, norm.running_var, mean, scale,
            grid.rows, grid.columns, grid.parts, norm.momentum, norm.eps,
            ROWS=grid.tile_rows, HAS_BIAS=conv_bias is not None, **grid.merge,
        )  # fmt: skip
        y = torch.empty_like(x)
        _normalise[(grid.tiles, grid.blocks)](
            x, y, mean, scale, weight, bias, grid.rows, grid.columns, LIMIT=limit, **grid.tile
        )
        ctx.save_for_backward(x, weight, bias, mean, scale)
        ctx.limit = limit
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, scale = ctx.saved_tensors
        grad, stride = rows_of(grad)
        grid = _Grid(x)
        sums, products = grid.partial(x), grid.partial(x)
        total, product = grid.per_column(x), grid.per_column(x)
        known = (mean, scale, weight, bias)
        _gradient_sums[(grid.parts, grid.blocks)](
            grad, x, *known, sums, products, grid.rows, grid.columns, stride, LIMIT=ctx.limit, **grid.tile
        )
        _merge_sums[(grid.merged_blocks,)](sums, products, total, product, grid.columns, grid.parts, **grid.merge)
        dx = torch.empty_like(x)
        _input_gradient[(grid.tiles, grid.blocks)](
            grad, x, dx, *known, total, product, grid.rows, grid.columns, stride, LIMIT=ctx.limit, **grid.tile
        )
        return dx, product, total, None, None, None


def batch_norm(features: Tensor, norm: torch.nn.BatchNorm2d, limit: float, conv_bias: Tensor | None = None) -> Tensor:
    """BatchNorm in training mode, followed by a ReLU, and the update of the running statistics.

    Args:
        features: (N, C, H, W) in float32, bf16 or float16, on a GPU. They are copied if not in channels-last layout.
        norm: The layer, with weights and running statistics and a fixed momentum.
        limit: Largest value of the ReLU: infinity, 6 for a ReLU6, or 0 without ReLU.
        conv_bias: Bias of the preceding convolution, (C,), if that was left out of `features`. It does not change the
            result, only the running mean.

    Returns:
        (N, C, H, W) in the type of `features`, channels-last.
    """
    norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
    features = features.contiguous(memory_format=torch.channels_last)
    result: Tensor = _BatchNorm.apply(features, norm.weight, norm.bias, conv_bias, norm, limit)
    return result
