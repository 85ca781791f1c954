"""Nearest x2 upsampling and a 3x3 convolution as one transposed 4x4 convolution of stride 2: 4/9 of the products.

Upsampling repeats every value four times, so a 3x3 window of the raised map holds only 2x2 different values. Adding up
beforehand the weights that meet the same value leaves four products where there were nine: the same sum in another
order. In one dimension, raised values at 2i and 2i + 1 are w0 x[i-1] + (w1 + w2) x[i] and (w0 + w1) x[i] + w2 x[i+1],
which is what a kernel (w2, w1 + w2, w0 + w1, w0) lays out from x with stride 2.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

MERGED_DTYPES = (torch.float32, torch.bfloat16)
"""Number formats whose transposed convolution is a tuned kernel on a CPU; others fall to one that unfolds its input."""

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
"""Whether PyTorch was built with it: without, a transposed convolution unfolds its input."""

_TAPS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))  # row k: the weights that add up to tap k


def merged_kernel(weight: Tensor) -> Tensor:
    """The 3x3 kernel (O, I, 3, 3) on a raised map -> the 4x4 kernel (I, O, 4, 4) of a transposed convolution."""
    outputs, inputs = weight.shape[:2]
    # Pixels first, outputs last: the layout from which oneDNN takes a kernel without a slow reordering.
    rows = weight.permute(2, 3, 1, 0).reshape(9, -1)
    return (_mixing(weight) @ rows).view(4, 4, inputs, outputs).permute(2, 3, 0, 1)


class UpsampledConv2d(nn.Conv2d):
    """3x3 convolution of the map raised x2 by nearest neighbours: (B, I, H, W) -> (B, O, 2H, 2W).

    `merged` lets it compute both as one transposed convolution, the same up to rounding, where that is faster: with
    oneDNN on a CPU in float32 and bf16. The merged form is differentiable once; a network that is traced, to be
    compiled or exported, has the plain one.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)
        self.merged = True

    def forward(self, features: Tensor) -> Tensor:
        """The convolved map, twice as high and wide."""
        usable = HAS_ONEDNN and features.device.type == "cpu" and features.dtype in MERGED_DTYPES
        if self.merged and usable and not torch.compiler.is_compiling():
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype
            if dtype == torch.float32 or (dtype == torch.bfloat16 and processor_has_bf16()):
                return cast(Tensor, _Merged.apply(features.to(dtype), self.weight, self.bias))
        return super().forward(F.interpolate(features, scale_factor=2, mode="nearest"))


def leave_upsampling_plain(network: nn.Module) -> nn.Module:
    """`network`, computing its upsampling and convolutions one after the other, as they are written."""
    for module in network.modules():
        if isinstance(module, UpsampledConv2d):
            module.merged = False
    return network


def transpose_upsampling(network: nn.Module) -> nn.Module:
    """`network` with every UpsampledConv2d in it replaced by an nn.ConvTranspose2d, in place.

    For inference: the kernels are merged once. On a CPU this is as fast as `merged` is, see there.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, UpsampledConv2d):
                setattr(module, name, _transposed(child))
    return network


@cache
def processor_has_bf16() -> bool:
    """Whether the processor computes bf16; if not, oneDNN's transposed convolution rounds more than the plain form."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


class _Merged(torch.autograd.Function):
    """The transposed convolution with a backward of its own.

    PyTorch's takes as long for the bias's gradient as for all the rest; merged in here, the kernel is copied once less.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # it would round the weights to bf16 before they are added up
            kernel = merged_kernel(weight).to(features.dtype)
            ctx.save_for_backward(features, kernel)
            ctx.mixing, ctx.bias_dtype = _mixing(weight), bias.dtype
            return F.conv_transpose2d(features, kernel, bias.to(features.dtype), stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        features, kernel = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:2], False]
        to_features, to_kernel, _ = torch.ops.aten.convolution_backward(
            grad, features, kernel, None, [2, 2], [1, 1], [1, 1], True, [0, 0], 1, wanted
        )
        to_weight = to_bias = None
        with torch.autocast("cpu", enabled=False):
            if to_kernel is not None:
                inputs, outputs = to_kernel.shape[:2]
                taps = to_kernel.to(ctx.mixing.dtype).reshape(-1, 16)
                to_weight = (taps @ ctx.mixing).view(inputs, outputs, 3, 3).transpose(0, 1)
            if ctx.needs_input_grad[2]:
                to_bias = _sum_of_pixels(grad).to(ctx.bias_dtype)
        return to_features, to_weight, to_bias


def _sum_of_pixels(grad: Tensor) -> Tensor:
    """(B, C, H, W) -> (C,). A product with ones: it adds up in float32, and as fast as memory is read."""
    rows = grad.permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
    return (rows.new_ones(1, len(rows)) @ rows)[0]


def _mixing(weight: Tensor) -> Tensor:
    """(16, 9): which of the nine weights add up to which of the sixteen taps."""
    taps = weight.new_tensor(_TAPS)
    return torch.kron(taps, taps)


@torch.no_grad()
def _transposed(convolution: UpsampledConv2d) -> nn.ConvTranspose2d:
    weight = convolution.weight
    made = nn.ConvTranspose2d(
        convolution.in_channels,
        convolution.out_channels,
        kernel_size=4,
        stride=2,
        padding=1,
        device=weight.device,
        dtype=weight.dtype,
    )
    made.weight.copy_(merged_kernel(weight))
    cast(Tensor, made.bias).copy_(cast(Tensor, convolution.bias))
    return made
