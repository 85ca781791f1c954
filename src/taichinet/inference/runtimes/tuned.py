"""Tuned PyTorch: convolutions fused with BatchNorm and upsampling, channels-last, bf16 if supported."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from taichinet.inference.runtimes.eager import Eager
from taichinet.inference.runtimes.runtime import Precision, Runtime, RuntimeSpec
from taichinet.models.upsampling import transpose_upsampling
from taichinet.models.weights import LoadedWeights
from taichinet.training.device import DeviceConfig, choose_device_config


class Tuned(Eager):
    """An optimised copy of the network, with the same outputs as `Eager` up to rounding."""

    name = "tuned"

    def __init__(
        self, network: nn.Module, device_config: DeviceConfig | None = None, disagreement: bool = True
    ) -> None:
        """Set up an optimised copy of the network.

        Args:
            network: The network; it is not changed.
            device_config: Device, precision and memory layout; chosen automatically if None.
            disagreement: Whether to compute the disagreement of the two paths.
        """
        device_config = device_config or choose_device_config()
        folded = fold_batch_norms(network)
        # The transposed form was not measured on a GPU.
        super().__init__(
            transpose_upsampling(folded) if device_config.device.type == "cpu" else folded, device_config, disagreement
        )


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Copy a network in evaluation mode and fold each BatchNorm after a convolution in an nn.Sequential into it.

    Other BatchNorm layers are kept, because their input is not known to be the output of a convolution.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            convolution, norm = module[i], module[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[i] = fuse_conv_bn_eval(convolution, norm)
                module[i + 1] = nn.Identity()
    return folded


def _open(loaded: LoadedWeights, graph: Path, precision: Precision, disagreement: bool) -> Runtime:
    return Tuned(loaded.network, disagreement=disagreement)


SPEC = RuntimeSpec("tuned", _open)
