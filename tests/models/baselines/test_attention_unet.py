"""Attention U-Net: parameter counts, FLOPs, the gates by hand, and an independent second implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, gflops, randomised

from taichinet.models.baselines.attention_unet import AttentionGate, AttentionUNet, AttentionUNetSettings
from taichinet.models.unet import UNet, UNetSettings


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(("width", "total"), [(32, 8_726_077), (64, 34_878_573)])
def test_totals_equal_the_source(width: int, total: int) -> None:
    assert count(AttentionUNet(AttentionUNetSettings(in_channels=3, width=width))) == total


@pytest.mark.parametrize(("channels", "total"), [(256, 66_435), (128, 16_835), (64, 4_323), (32, 1_139)])
def test_each_gate_has_the_size_of_the_source(channels: int, total: int) -> None:
    assert count(AttentionGate(channels)) == total


def test_network_without_gates_is_the_unet_with_a_pointwise_output() -> None:
    gated = AttentionUNet(AttentionUNetSettings(width=4))
    assert count(gated) - count(gated.gates) == count(UNet(UNetSettings(width=4, output_kernel=1)))


def test_gate_is_additive_attention_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(4).eval()
    skip, gating = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    output = gate(skip, gating)
    norm_scale = 1 / (1 + 1e-5) ** 0.5  # scale of an untrained BatchNorm in evaluation mode
    for row in range(3):
        for column in range(3):
            x, g = skip[0, :, row, column], gating[0, :, row, column]
            hidden = torch.zeros(2)
            for part, features in ((gate.of_gating[0], g), (gate.of_skip[0], x)):
                hidden += (part.weight[:, :, 0, 0] @ features + part.bias) * norm_scale  # type: ignore[operator, index]
            score = (gate.psi[0].weight[:, :, 0, 0] @ hidden.relu() + gate.psi[0].bias) * norm_scale  # type: ignore[operator, index]
            torch.testing.assert_close(output[0, :, row, column], x * score.sigmoid())


def test_closed_gates_remove_the_skips_from_the_output() -> None:
    torch.manual_seed(0)
    network = AttentionUNet(AttentionUNetSettings(width=4)).eval()
    with torch.no_grad():
        for gate in network.gates:
            gate.psi[1].weight.zero_()  # type: ignore[union-attr, index]
            gate.psi[1].bias.fill_(-1e4)  # type: ignore[union-attr, index]
    image = torch.rand(1, 1, 32, 32)
    before = network(image).positive
    network.encoder[0].register_forward_hook(lambda module, inputs, output: output * 1)
    unchanged = network(image).positive
    assert torch.equal(before, unchanged)
    deep = network.encoder[4]
    deep.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    first = network(image).positive
    other = network(torch.rand(1, 1, 32, 32)).positive
    assert torch.equal(first, other)  # without the deepest features the output is independent of the image
    assert not torch.equal(before, first)


def test_twice_the_width_has_the_flops_of_the_published_implementation() -> None:
    cost = gflops(AttentionUNet(AttentionUNetSettings(in_channels=3, width=64)).eval(), channels=3)
    assert cost == pytest.approx(101.71, abs=0.011)


def independent_attention_unet(p: Parts, image: Tensor) -> Tensor:
    skips = [p["encoder"][0].double_conv(image)]
    for level in range(1, 5):
        skips.append(p["encoder"][level].double_conv(F.max_pool2d(skips[-1], 2)))
    x = skips[4]
    for turn, skip in enumerate(skips[3::-1]):
        g, gate = p["ups"][turn].up_conv(x), p["gates"][turn]
        of_g = gate["of_gating"].norm(1, gate["of_gating"].conv(0, g))
        of_x = gate["of_skip"].norm(1, gate["of_skip"].conv(0, skip))
        psi = gate["psi"].norm(1, gate["psi"].conv(0, F.relu(of_g + of_x))).sigmoid()
        x = p["decoder"][turn].double_conv(torch.cat([psi * skip, g], dim=1))
    return p.conv("output", x)


def test_network_equals_the_independent_implementation() -> None:
    torch.manual_seed(0)
    network = randomised(AttentionUNet(AttentionUNetSettings(width=4)), channels=1, size=32)
    image = torch.rand(2, 1, 32, 48)
    parts = Parts(network.state_dict())
    with torch.no_grad():
        assert_agree(network(image).positive, independent_attention_unet(parts, image))
    assert not parts.unused
