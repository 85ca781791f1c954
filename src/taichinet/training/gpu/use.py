"""Which of the faster layers and steps a training uses. Everything else in this package needs a GPU and Triton."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import nn

from taichinet.training.device import DeviceConfig

if TYPE_CHECKING:
    from taichinet.training.gpu.step_graphs import StepGraphs


def training_layers(network: nn.Module, device_config: DeviceConfig) -> AbstractContextManager[None]:
    """Context in which `network` uses faster layers on a GPU, where Triton is installed with PyTorch (not on Windows).

    The layers need channels-last features.
    """
    channels_last = device_config.memory_format == torch.channels_last
    if device_config.device.type != "cuda" or not channels_last or find_spec("triton") is None:
        return nullcontext()
    from taichinet.training.gpu.layers import gpu_layers

    return gpu_layers(network)


def step_graphs(device_config: DeviceConfig, accumulate: int) -> StepGraphs | None:
    """The CUDA graphs of a training, or None where it needs the CPU within a step, or has no GPU."""
    if device_config.device.type != "cuda" or device_config.ranks.size > 1 or accumulate > 1:
        return None
    from taichinet.training.gpu.step_graphs import StepGraphs

    return StepGraphs()
