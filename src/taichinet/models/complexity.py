"""Size and cost of a network: parameters and floating-point operations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from taichinet.models.catalogue import create_model, model_settings
from taichinet.models.upsampling import leave_upsampling_plain


@dataclass(frozen=True)
class Complexity:
    """`parameters` counts weights; `gflops` one image forward, a multiplication and an addition being two."""

    parameters: int
    gflops: float


def count_parameters(network: nn.Module) -> int:
    """Weights of the network; BatchNorm's running statistics are none."""
    return sum(weight.numel() for weight in network.parameters())


def measure_complexity(name: str, size: int, **options: object) -> Complexity:
    """Complexity of network `name` in evaluation at `size` x `size` pixels, from shapes alone: nothing is computed.

    Convolutions and matrix products are counted as the network is written, as every such tool does: what a merged
    upsampling saves is speed, not size. Raises SettingError as `create_model` does.
    """
    settings = model_settings(name, **options)
    network = leave_upsampling_plain(create_model(name, **options).eval())
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, settings.in_channels, size, size))
    return Complexity(count_parameters(network), counter.get_total_flops() / 1e9)
