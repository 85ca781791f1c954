"""The U-Net of TaiChiNet: parameter counts of its parts, and an independent second implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, gflops, randomised

from taichinet.models.catalogue import create_model
from taichinet.models.taichinet.cross_attention import CrossAttention
from taichinet.models.unet import UNet, UNetSettings


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def sizes(modules: nn.ModuleList) -> list[int]:
    return [count(module) for module in modules]


def test_every_part_has_the_stated_size() -> None:
    path = UNet(UNetSettings(in_channels=3, output_kernel=1)).path
    assert sizes(path.encoder) == [10_272, 55_680, 221_952, 886_272, 3_542_016]
    assert sizes(path.ups) == [1_180_416, 295_296, 73_920, 18_528]
    assert sizes(path.decoder) == [1_771_008, 443_136, 110_976, 27_840]
    assert count(path.output) == 33


@pytest.mark.parametrize(("channels", "total"), [(3, 34_527_041), (1, 34_525_889)])
def test_twice_the_width_has_the_size_of_the_published_implementation(channels: int, total: int) -> None:
    with torch.device("meta"):
        assert count(UNet(UNetSettings(in_channels=channels, width=64, output_kernel=1))) == total


def test_twice_the_width_has_the_flops_of_the_published_implementation() -> None:
    cost = gflops(UNet(UNetSettings(in_channels=3, width=64, output_kernel=1)).eval(), channels=3)
    assert cost == pytest.approx(100.06, abs=0.011)


@pytest.mark.parametrize(("attention", "total"), [(False, 17_274_690), (True, 18_325_314)])
def test_two_paths_with_pointwise_outputs_have_the_stated_total(attention: bool, total: int) -> None:
    options: dict[str, Any] = {"in_channels": 3, "output_kernel": 1, "head": "none", "cross_attention": attention}
    with torch.device("meta"):
        assert count(create_model("taichinet", **options)) == total


def test_cross_attention_has_the_stated_size() -> None:
    with torch.device("meta"):
        assert count(CrossAttention(512)) == 1_050_624


def independent_unet(p: Parts, image: Tensor) -> Tensor:
    e1 = p["encoder"][0].double_conv(image)
    e2 = p["encoder"][1].double_conv(F.max_pool2d(e1, 2))
    e3 = p["encoder"][2].double_conv(F.max_pool2d(e2, 2))
    e4 = p["encoder"][3].double_conv(F.max_pool2d(e3, 2))
    x = p["encoder"][4].double_conv(F.max_pool2d(e4, 2))
    for turn, skip in enumerate((e4, e3, e2, e1)):
        x = p["decoder"][turn].double_conv(torch.cat([skip, p["ups"][turn].up_conv(x)], dim=1))
    return p.conv("output", x)


@pytest.mark.parametrize("kernel", [1, 3])
def test_network_equals_the_independent_implementation(kernel: int) -> None:
    torch.manual_seed(0)
    network = randomised(UNet(UNetSettings.model_validate({"width": 4, "output_kernel": kernel})), 1, 32)
    image = torch.rand(2, 1, 32, 48)
    parts = Parts(network.state_dict())
    with torch.no_grad():
        assert_agree(network(image).positive, independent_unet(parts["path"], image))
    assert not parts.unused
