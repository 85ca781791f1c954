"""Faster layers for training on an NVIDIA GPU, with the same functions, weights and state dict keys.

- BatchNorm, and a ReLU or ReLU6 that follows it in a Sequential, become one function (`batch_norm`).
- A convolution before a BatchNorm is computed without its bias. The bias only shifts the mean that BatchNorm subtracts:
  it changes the running mean, and its gradient is zero. Adam would divide the rounding error of that zero by itself.
- Upsampling before a convolution has its own kernel.
- Convolutions with fewer than 8 input or output channels are padded with zeros, as needed by the matrix units.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TypeGuard

from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.models.efficientnet_lite import InvertedResidual
from taichinet.models.upsampling import UpsampledConv2d
from taichinet.training.gpu.batch_norm import batch_norm
from taichinet.training.gpu.upsampling import enlarged

_CHANNELS = 8  # multiple of the channels of a bf16 matrix product on the matrix units
_LIMITS = {nn.ReLU: math.inf, nn.ReLU6: 6.0}  # largest value of the activations that are fused

Forward = Callable[[Tensor], Tensor]


@contextmanager
def gpu_layers(network: nn.Module) -> Iterator[None]:
    """Use faster layers in `network`, which is in training mode, within the context."""
    forwards = _forwards(network)
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            del module.forward


def _forwards(network: nn.Module) -> dict[nn.Module, Forward]:
    """The new forward functions. A module that is used in several places is not fused with its neighbours."""
    uses = Counter(module for _, module in network.named_modules(remove_duplicate=False))
    forwards: dict[nn.Module, Forward] = {}
    biases: dict[nn.Module, Tensor] = {}
    for sequence in network.modules():
        if not _runs_in_order(sequence):
            continue
        for layer, norm in pairwise(sequence):
            if _is_convolution(layer) and _is_fused(norm) and uses[layer] == uses[norm] == 1:
                forwards[layer] = partial(_convolve, layer, bias=None)
                if layer.bias is not None:
                    biases[norm] = layer.bias
        for norm, activation in pairwise(sequence):
            limit = _LIMITS.get(type(activation), 0.0)
            if limit and _is_fused(norm) and uses[activation] == uses[norm] == 1:
                forwards[norm] = partial(batch_norm, norm=norm, limit=limit, conv_bias=biases.get(norm))
                forwards[activation] = _unchanged
    for module in network.modules():
        if _is_fused(module) and module not in forwards:
            forwards[module] = partial(batch_norm, norm=module, limit=0.0, conv_bias=biases.get(module))
        elif _is_convolution(module) and module not in forwards and _is_faster(module):
            forwards[module] = partial(_convolve, module, bias=module.bias)
    return forwards


def _runs_in_order(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether each layer of `module` takes the output of the one before; an InvertedResidual only adds its input."""
    if isinstance(module, InvertedResidual):
        return True
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _is_fused(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    return type(module) is nn.BatchNorm2d and module.affine and module.momentum is not None and module.training


def _is_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(module) in (nn.Conv2d, UpsampledConv2d)


def _needs_padding(convolution: nn.Conv2d) -> bool:
    return convolution.groups == 1 and min(convolution.in_channels, convolution.out_channels) < _CHANNELS


def _is_faster(convolution: nn.Conv2d) -> bool:
    return isinstance(convolution, UpsampledConv2d) or _needs_padding(convolution)


def _convolve(layer: nn.Conv2d, features: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of `layer` with another bias, (B, I, H, W) -> (B, O, H', W')."""
    if isinstance(layer, UpsampledConv2d):
        features = enlarged(features)
    if not _needs_padding(layer):
        return _result(layer, features, layer.weight, bias)
    outputs, inputs = layer.out_channels, layer.in_channels
    more_outputs, more_inputs = -outputs % _CHANNELS, -inputs % _CHANNELS
    features = F.pad(features, (0, 0, 0, 0, 0, more_inputs))
    weight = F.pad(layer.weight, (0, 0, 0, 0, 0, more_inputs, 0, more_outputs))
    if bias is not None:
        bias = F.pad(bias, (0, more_outputs))
    return _result(layer, features, weight, bias)[:, :outputs]


def _result(layer: nn.Conv2d, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = layer._conv_forward(features, weight, bias)
    return result


def _unchanged(features: Tensor) -> Tensor:
    return features
