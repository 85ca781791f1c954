"""Fused upsampling has the values, gradients and stored weights of plain upsampling."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.models.blocks import UpConv
from taichinet.models.catalogue import create_model
from taichinet.models.upsampling import (
    UpsampledConv2d,
    fused_kernel,
    leave_upsampling_plain,
    transpose_upsampling,
)


def plain(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(features, scale_factor=2, mode="nearest"), weight, bias, padding=1)


def gradients(layer: nn.Module, features: Tensor, output_gradient: Tensor) -> list[Tensor]:
    """Gradients of features, weight and bias for a given gradient of the output."""
    features = features.clone().requires_grad_()
    layer.zero_grad()
    layer(features).backward(output_gradient)
    return [grad for grad in (features.grad, *(weight.grad for weight in layer.parameters())) if grad is not None]


def test_fused_kernel_is_exact() -> None:
    torch.manual_seed(0)
    features, weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((2, 3, 5, 7), (4, 3, 3, 3), (4,)))
    fused = F.conv_transpose2d(features, fused_kernel(weight), bias, stride=2, padding=1)
    torch.testing.assert_close(fused, plain(features, weight, bias), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize(("inputs", "outputs", "height", "width"), [(8, 4, 6, 10), (3, 5, 1, 1), (64, 32, 14, 14)])
def test_values_and_gradients_equal_plain_upsampling(
    inputs: int, outputs: int, height: int, width: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer = UpsampledConv2d(inputs, outputs).to(memory_format=layout)
    features = torch.randn(2, inputs, height, width).to(memory_format=layout)
    output_gradient = torch.randn(2, outputs, 2 * height, 2 * width).to(memory_format=layout)
    fused, fused_gradients = layer(features), gradients(layer, features, output_gradient)
    leave_upsampling_plain(layer)
    torch.testing.assert_close(fused, layer(features), rtol=1e-4, atol=1e-5)
    assert len(fused_gradients) == 3
    for fused_gradient, plain_gradient in zip(
        fused_gradients, gradients(layer, features, output_gradient), strict=True
    ):
        assert fused_gradient.dtype == plain_gradient.dtype
        torch.testing.assert_close(fused_gradient, plain_gradient, rtol=1e-4, atol=1e-4)


def test_autocast_gives_bf16_output_and_float32_gradients() -> None:
    torch.manual_seed(0)
    layer = UpsampledConv2d(16, 8)
    features = torch.randn(2, 16, 8, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = layer(features)
    fused.float().square().mean().backward()
    assert fused.dtype == torch.bfloat16
    assert {features.grad.dtype, layer.weight.grad.dtype, layer.bias.grad.dtype} == {torch.float32}  # type: ignore[union-attr]
    torch.testing.assert_close(fused.float(), plain(features, layer.weight, layer.bias), rtol=0.03, atol=0.03)  # type: ignore[arg-type]


def test_bf16_rounding_error_is_not_above_that_of_plain_upsampling() -> None:
    """Weights must be summed in float32, not after rounding each of them."""
    torch.manual_seed(0)
    layer = UpsampledConv2d(64, 32)
    features = torch.randn(2, 64, 16, 16).bfloat16().float()
    assert layer.bias is not None
    exact = plain(features.double(), layer.weight.double(), layer.bias.double())
    errors = []
    for _ in range(2):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            errors.append((layer(features).double() - exact).square().mean().sqrt())
        leave_upsampling_plain(layer)
    assert errors[0] < 1.05 * errors[1]


def test_network_runs_on_the_meta_device() -> None:
    with torch.device("meta"):
        assert create_model("unet", width=2)(torch.zeros(1, 1, 32, 32)).positive.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_transposed_layer_has_the_dtype_of_its_weights(dtype: torch.dtype) -> None:
    holder = nn.Sequential(UpsampledConv2d(3, 2)).to(dtype)
    assert {weight.dtype for weight in transpose_upsampling(holder).parameters()} == {dtype}


def test_dtypes_without_fast_kernel_use_plain_upsampling() -> None:
    layer = UpsampledConv2d(3, 2).double()
    output = layer(torch.randn(1, 3, 4, 4, dtype=torch.float64))
    assert output.grad_fn is not None
    assert "Fused" not in output.grad_fn.name()
    assert "Fused" in UpsampledConv2d(3, 2)(torch.randn(1, 3, 4, 4)).grad_fn.name()


def test_frozen_weights_get_no_gradient() -> None:
    layer = UpsampledConv2d(3, 2)
    for weight in layer.parameters():
        weight.requires_grad_(False)
    features = torch.randn(1, 3, 4, 4, requires_grad=True)
    layer(features).sum().backward()
    assert features.grad is not None
    assert layer.weight.grad is None
    assert layer.bias is not None
    assert layer.bias.grad is None


def test_weight_names_are_unchanged() -> None:
    assert [name for name, _ in UpConv(4, 2).named_parameters()] == ["1.weight", "1.bias", "2.weight", "2.bias"]


def test_transposed_network_gives_the_same_prediction() -> None:
    torch.manual_seed(0)
    network = create_model("taichinet", width=4).eval()
    transposed = transpose_upsampling(copy.deepcopy(network))
    assert not any(isinstance(module, UpsampledConv2d) for module in transposed.modules())
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in transposed.modules()) == 8  # four levels, two paths
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected, prediction = network(image), transposed(image)
    torch.testing.assert_close(expected.lesion, prediction.lesion, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(expected.disagreement, prediction.disagreement, rtol=1e-4, atol=1e-5)
