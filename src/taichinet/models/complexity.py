"""Number of parameters and floating-point operations (FLOPs) of a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from taichinet.models.catalogue import create_model, model_settings
from taichinet.models.own_network import OwnSettings
from taichinet.models.upsampling import leave_upsampling_plain


@dataclass(frozen=True)
class Complexity:
    """Number of parameters, and GFLOPs of a forward pass of one image (a multiply-add counts as two FLOPs)."""

    parameters: int
    gflops: float


def count_parameters(network: nn.Module) -> int:
    """Number of parameters, without the running statistics of BatchNorm."""
    return sum(weight.numel() for weight in network.parameters())


def measure_complexity(name: str, size: int, **options: object) -> Complexity:
    """Measure the complexity of a network in evaluation mode on PyTorch's meta device, without memory or computation.

    Networks from outside the package are measured on the CPU: not all of them support the meta device.

    Convolutions and matrix products are counted as the network is defined, without the reduction by fused upsampling,
    as is usual.

    Args:
        name: Name of the network.
        size: Height and width of the image in pixels.
        **options: Options of the network.

    Returns:
        Parameters and GFLOPs for one image.

    Raises:
        SettingError: As in `create_model`.
    """
    settings = model_settings(name, **options)
    device = "cpu" if isinstance(settings, OwnSettings) else "meta"
    with torch.device(device), torch.no_grad():
        network = leave_upsampling_plain(create_model(name, **options).eval())
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, settings.in_channels, size, size))
    return Complexity(count_parameters(network), counter.get_total_flops() / 1e9)
