"""U-Net++: parameter counts per node, FLOPs, and an independent second implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, gflops, randomised

from taichinet.models.baselines.unet_plus_plus import UNetPlusPlus, UNetPlusPlusSettings

NODES = {
    "x0_0": 10_272,
    "x1_0": 55_680,
    "x2_0": 221_952,
    "x3_0": 886_272,
    "x4_0": 3_542_016,
    "x0_1": 37_056,
    "x1_1": 147_840,
    "x2_1": 590_592,
    "x3_1": 2_360_832,
    "x0_2": 46_272,
    "x1_2": 184_704,
    "x2_2": 738_048,
    "x0_3": 55_488,
    "x1_3": 221_568,
    "x0_4": 64_704,
}


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.fixture(scope="module")
def published() -> UNetPlusPlus:
    with torch.device("meta"):
        return UNetPlusPlus(UNetPlusPlusSettings(in_channels=3))


@pytest.mark.parametrize(("node", "size"), NODES.items(), ids=str)
def test_each_node_has_the_stated_size(published: UNetPlusPlus, node: str, size: int) -> None:
    assert count(published.nodes[node]) == size


def test_network_has_only_these_nodes_and_four_heads(published: UNetPlusPlus) -> None:
    assert set(published.nodes) == set(NODES)
    assert [count(head) for head in published.outputs] == [33, 33, 33, 33]


def test_grey_input_has_fewer_weights_in_the_first_convolution() -> None:
    with torch.device("meta"):
        assert count(UNetPlusPlus()) == 9_162_852


def test_single_head_has_the_flops_of_the_source() -> None:
    settings = UNetPlusPlusSettings(in_channels=3, deep_supervision=False)
    assert gflops(UNetPlusPlus(settings).eval(), channels=3) == pytest.approx(52.81, abs=0.006)


def independent_unet_plus_plus(p: Parts, image: Tensor) -> list[Tensor]:
    """X(0, 1) to X(0, 4), computed diagonal by diagonal."""

    def node(name: str, *features: Tensor) -> Tensor:
        *same, other = features
        if same:
            other = F.interpolate(other, scale_factor=2, mode="bilinear", align_corners=True)
        return p["nodes"][name].double_conv(torch.cat([*same, other], dim=1))

    x00 = node("x0_0", image)
    x10 = node("x1_0", F.max_pool2d(x00, 2))
    x01 = node("x0_1", x00, x10)
    x20 = node("x2_0", F.max_pool2d(x10, 2))
    x11 = node("x1_1", x10, x20)
    x02 = node("x0_2", x00, x01, x11)
    x30 = node("x3_0", F.max_pool2d(x20, 2))
    x21 = node("x2_1", x20, x30)
    x12 = node("x1_2", x10, x11, x21)
    x03 = node("x0_3", x00, x01, x02, x12)
    x40 = node("x4_0", F.max_pool2d(x30, 2))
    x31 = node("x3_1", x30, x40)
    x22 = node("x2_2", x20, x21, x31)
    x13 = node("x1_3", x10, x11, x12, x22)
    return [x01, x02, x03, node("x0_4", x00, x01, x02, x03, x13)]


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_network_equals_the_independent_implementation(deep_supervision: bool) -> None:
    torch.manual_seed(0)
    settings = UNetPlusPlusSettings(width=4, deep_supervision=deep_supervision)
    network = randomised(UNetPlusPlus(settings), channels=1, size=32)
    image = torch.rand(2, 1, 32, 48)
    parts = Parts(network.state_dict())
    with torch.no_grad():
        prediction = network(image)
        ends = independent_unet_plus_plus(parts, image)
        if deep_supervision:
            heads = [parts["outputs"].conv(column, end) for column, end in enumerate(ends)]
            for level, head in zip(prediction.levels, heads, strict=True):
                assert_agree(level, head)
        else:
            heads = [parts["outputs"].conv(0, ends[-1])]
    assert_agree(prediction.positive, heads[-1])
    assert not parts.unused
