"""BatchNorm over the batch of all ranks, for any device. PyTorch's SyncBatchNorm only supports GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from taichinet.training.distributed.ranks import Ranks


class CrossRankBatchNorm(_BatchNorm):
    """BatchNorm with the statistics of the batches of all ranks in training mode, and plain BatchNorm in evaluation.

    Shares the weights and running statistics with the layer that it replaces. Input and output are (B, C) or
    (B, C, ...). If `is_padding` is true, the values of this rank are excluded from the statistics. The dropout and
    activation that timm's BatchNormAct2d includes are applied afterwards.
    """

    def __init__(self, layer: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self._parameters.update(layer._parameters)
        self._buffers.update(layer._buffers)
        self.train(layer.training)
        self.ranks = ranks
        self.is_padding = False
        included = (getattr(layer, name, None) for name in ("drop", "act"))
        self._included = tuple(module for module in included if isinstance(module, nn.Module))

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.dim() < 2:
            raise ValueError(f"BatchNorm takes (B, C) or (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise `input` per channel, in training mode with the mean and variance over all ranks."""
        output: Tensor = self._normalised(input) if self.training else super().forward(input)
        for module in self._included:
            output = module(output)
        return output

    def _normalised(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        count, mean, variance = joined_moments(values.detach(), self.is_padding, self.ranks)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            # None: cumulative average over all batches, as in PyTorch.
            weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, weight)
            self.running_var.lerp_(variance * count / (count - 1), weight)
        normal: Tensor = _Normalise.apply(
            values, mean, torch.rsqrt(variance + self.eps), count, self.is_padding, self.ranks
        )
        if self.weight is not None:
            normal = normal * _channels(self.weight, normal) + _channels(self.bias, normal)
        return normal.to(input.dtype)


def joined_moments(values: Tensor, is_padding: bool, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Number of values per channel (scalar), mean (C,) and biased variance (C,) over the values of all ranks.

    Computed from the mean and variance of each rank and not from sums of squares, whose difference loses precision
    (Chan, Golub, LeVeque 1979). `values` are those of this rank, (B, C, ...), which are excluded if `is_padding`.
    """
    others = [axis for axis in range(values.dim()) if axis != 1]
    variance, mean = torch.var_mean(values, others, correction=0)
    own = values.new_full((1,), 0.0 if is_padding else values.numel() / values.shape[1])
    rows = ranks.gather(torch.cat([own, mean, variance]))
    counted, means, variances = torch.split(rows, [1, len(mean), len(mean)], dim=1)
    count = counted.sum()
    weights = counted / count
    mean = (weights * means).sum(0)
    return count, mean, (weights * (variances + (means - mean).square())).sum(0)


class _Normalise(torch.autograd.Function):
    """(x - mean) / SD. Mean and SD depend on the values of all ranks, and so does the gradient on each rank."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, mean: Tensor, scale: Tensor, count: Tensor, is_padding: bool, ranks: Ranks
    ) -> Tensor:
        normal = (values - _channels(mean, values)) * _channels(scale, values)
        ctx.save_for_backward(normal, scale, count)
        ctx.is_padding, ctx.ranks = is_padding, ranks
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        normal, scale, count = ctx.saved_tensors
        others = [axis for axis in range(normal.dim()) if axis != 1]
        # The loss of a rank without images of its own has weight 0, so its gradient is already zero.
        sums = ctx.ranks.add(torch.cat([gradient.sum(others), (gradient * normal).sum(others)])) / count
        if ctx.is_padding:
            return gradient * _channels(scale, normal), None, None, None, None, None
        mean_term, sd_term = (_channels(part, normal) for part in sums.chunk(2))
        return (gradient - mean_term - normal * sd_term) * _channels(scale, normal), None, None, None, None, None


def _channels(per_channel: Tensor, like: Tensor) -> Tensor:
    """Reshape (C,) to (1, C, 1, ...) for broadcasting with `like` (B, C, ...)."""
    return per_channel.view(1, -1, *[1] * (like.dim() - 2))


@contextmanager
def norms_across(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Replace every BatchNorm of `network` by a `CrossRankBatchNorm` within the context.

    State dict keys and weights do not change. With a single process, nothing is replaced. A layer that is used in
    several places is replaced by the same new layer in all of them.
    """
    if ranks.size == 1:
        yield
        return
    places = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent._modules.items()
        if isinstance(layer, _BatchNorm)
    ]
    replaced = {id(layer): CrossRankBatchNorm(layer, ranks) for _, _, layer in places}
    for parent, name, layer in places:
        setattr(parent, name, replaced[id(layer)])
    try:
        yield
    finally:
        for parent, name, layer in places:
            layer.train(replaced[id(layer)].training)
            setattr(parent, name, layer)


def set_padding(network: nn.Module, is_padding: bool) -> None:
    """Set whether the values of this rank are excluded from the BatchNorm statistics of `network`."""
    for layer in network.modules():
        if isinstance(layer, CrossRankBatchNorm):
            layer.is_padding = is_padding
