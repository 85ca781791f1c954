"""Tuned PyTorch: convolutions merged with BatchNorm and upsampling, channels-last, bf16 where there is."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from taichinet.inference.runtimes.eager import Eager
from taichinet.inference.runtimes.runtime import RuntimeName
from taichinet.models.upsampling import transpose_upsampling
from taichinet.training.device import Placement, choose_placement


class Tuned(Eager):
    """The same answers as `Eager` up to rounding, from a copy of the network made for inference alone."""

    name: RuntimeName = "tuned"

    def __init__(self, network: nn.Module, placement: Placement | None = None, disagreement: bool = True) -> None:
        """`network` itself is left as it is; `placement` is the machine's best where None."""
        placement = placement or choose_placement()
        folded = fold_batch_norms(network)
        # On a GPU the transposed form was never measured.
        super().__init__(
            transpose_upsampling(folded) if placement.device.type == "cpu" else folded, placement, disagreement
        )


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy of `network` in evaluation mode without the BatchNorms that follow a convolution in an nn.Sequential.

    The convolution takes on the scale and shift. Elsewhere nothing says that the norm's input is the convolution's
    output alone, so those stay.
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
