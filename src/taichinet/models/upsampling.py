"""Fused upsampling: nearest x2 upsampling and a 3x3 convolution as one 4x4 transposed convolution with stride 2.

Upsampling repeats every value four times, so a 3x3 window of the upsampled map has only 2x2 different values. Summing
the weights of equal values in advance reduces nine multiplications to four; the result is the same sum in another
order. In one dimension, the outputs at 2i and 2i + 1 are w0 x[i-1] + (w1 + w2) x[i] and (w0 + w1) x[i] + w2 x[i+1].
This is a transposed convolution of x with kernel (w2, w1 + w2, w0 + w1, w0) and stride 2.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from taichinet.models.autocast import without_autocast

FUSED_DTYPES = (torch.float32, torch.bfloat16)
"""Precisions with an optimised transposed convolution on the CPU; others use a slower kernel that unfolds its input."""

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()
"""Whether PyTorch was built with oneDNN. Without it, transposed convolutions unfold their input, which is slower."""

_TAPS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))  # row k: the weights that are summed for tap k


def fused_kernel(weight: Tensor) -> Tensor:
    """Convert the 3x3 kernel (O, I, 3, 3) of an upsampled map to a 4x4 transposed convolution kernel (I, O, 4, 4)."""
    outputs, inputs = weight.shape[:2]
    # oneDNN uses this memory layout (pixels first, output channels last) without a slow reordering.
    rows = weight.permute(2, 3, 1, 0).reshape(9, -1)
    return (_mixing(weight) @ rows).view(4, 4, inputs, outputs).permute(2, 3, 0, 1)


class UpsampledConv2d(nn.Conv2d):
    """Nearest x2 upsampling followed by a 3x3 convolution: (B, I, H, W) -> (B, O, 2H, 2W).

    If `fused` is true, both are computed as one transposed convolution where that is faster: with oneDNN on a CPU in
    float32 and bf16. The results are equal up to rounding. The fused form does not support second derivatives and is
    not used while the network is compiled or exported.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)
        self.fused = True

    def forward(self, features: Tensor) -> Tensor:
        """The convolved features at twice the resolution."""
        usable = HAS_ONEDNN and features.device.type == "cpu" and features.dtype in FUSED_DTYPES
        if self.fused and usable and not torch.compiler.is_compiling():
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype
            if dtype == torch.float32 or (dtype == torch.bfloat16 and processor_has_bf16()):
                return cast(Tensor, _Fused.apply(features.to(dtype), self.weight, self.bias))
        with without_autocast(features):  # which would copy the features in float32, on a GPU
            features = F.interpolate(features, scale_factor=2, mode="nearest")
        return super().forward(features)


def leave_upsampling_plain(network: nn.Module) -> nn.Module:
    """Disable fused upsampling in `network`, in place, and return it."""
    for module in network.modules():
        if isinstance(module, UpsampledConv2d):
            module.fused = False
    return network


def transpose_upsampling(network: nn.Module) -> nn.Module:
    """Replace every UpsampledConv2d of `network` by an nn.ConvTranspose2d, in place, and return it.

    For inference: the kernels are converted once. On a CPU, the speed is that of `UpsampledConv2d` with `fused`.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, UpsampledConv2d):
                setattr(module, name, _transposed(child))
    return network


@cache
def processor_has_bf16() -> bool:
    """Whether the CPU supports bf16. If not, oneDNN's transposed convolution has larger rounding errors."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


class _Fused(torch.autograd.Function):
    """Transposed convolution with a custom backward pass.

    In PyTorch's backward pass, the gradient of the bias takes as long as the rest. Converting the kernel in this
    function saves one copy of the kernel.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # autocast would round the weights to bf16 before the sum
            kernel = fused_kernel(weight).to(features.dtype)
            ctx.save_for_backward(features, kernel)
            ctx.mixing, ctx.bias_dtype = _mixing(weight), bias.dtype
            return F.conv_transpose2d(features, kernel, bias.to(features.dtype), stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        features, kernel = ctx.saved_tensors
        needed = [*ctx.needs_input_grad[:2], False]
        to_features, to_kernel, _ = torch.ops.aten.convolution_backward(
            grad, features, kernel, None, [2, 2], [1, 1], [1, 1], True, [0, 0], 1, needed
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
    """Sum over batch and pixels, (B, C, H, W) -> (C,).

    A matrix product with ones: it accumulates in float32 and is only limited by memory bandwidth.
    """
    rows = grad.permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
    return (rows.new_ones(1, len(rows)) @ rows)[0]


def _mixing(weight: Tensor) -> Tensor:
    """Matrix (16, 9) of 0 and 1 that maps the nine weights of the 3x3 kernel to the sixteen taps of the 4x4 kernel."""
    taps = weight.new_tensor(_TAPS)
    return torch.kron(taps, taps)


@torch.no_grad()
def _transposed(convolution: UpsampledConv2d) -> nn.ConvTranspose2d:
    weight = convolution.weight
    transposed = nn.ConvTranspose2d(
        convolution.in_channels,
        convolution.out_channels,
        kernel_size=4,
        stride=2,
        padding=1,
        device=weight.device,
        dtype=weight.dtype,
    )
    transposed.weight.copy_(fused_kernel(weight))
    cast(Tensor, transposed.bias).copy_(cast(Tensor, convolution.bias))
    return transposed
