"""Attention U-Net: totals, gates by hand, and what a closed gate means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taichinet.models.baselines.attention_unet import AttentionGate, AttentionUNet, AttentionUNetSettings
from taichinet.models.unet import UNet, UNetSettings


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(("width", "total"), [(32, 8_726_077), (64, 34_878_573)])
def test_the_totals_are_the_sources(width: int, total: int) -> None:
    assert count(AttentionUNet(AttentionUNetSettings(in_channels=3, width=width))) == total


@pytest.mark.parametrize(("channels", "total"), [(256, 66_435), (128, 16_835), (64, 4_323), (32, 1_139)])
def test_each_gate_has_the_sources_size(channels: int, total: int) -> None:
    assert count(AttentionGate(channels)) == total


def test_without_its_gates_it_is_the_unet_with_a_pointwise_output() -> None:
    gated = AttentionUNet(AttentionUNetSettings(width=4))
    assert count(gated) - count(gated.gates) == count(UNet(UNetSettings(width=4, output_kernel=1)))


def test_a_gate_is_an_additive_attention_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(4).eval()
    skip, gating = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    answer = gate(skip, gating)
    small = 1 / (1 + 1e-5) ** 0.5  # BatchNorm at its start, in evaluation
    for row in range(3):
        for column in range(3):
            x, g = skip[0, :, row, column], gating[0, :, row, column]
            hidden = torch.zeros(2)
            for part, seen in ((gate.of_gating[0], g), (gate.of_skip[0], x)):
                hidden += (part.weight[:, :, 0, 0] @ seen + part.bias) * small  # type: ignore[operator, index]
            score = (gate.psi[0].weight[:, :, 0, 0] @ hidden.relu() + gate.psi[0].bias) * small  # type: ignore[operator, index]
            torch.testing.assert_close(answer[0, :, row, column], x * score.sigmoid())


def test_with_all_gates_closed_the_skips_no_longer_reach_the_output() -> None:
    torch.manual_seed(0)
    network = AttentionUNet(AttentionUNetSettings(width=4)).eval()
    with torch.no_grad():
        for gate in network.gates:
            gate.psi[1].weight.zero_()  # type: ignore[union-attr, index]
            gate.psi[1].bias.fill_(-1e4)  # type: ignore[union-attr, index]
    image = torch.rand(1, 1, 32, 32)
    before = network(image).positive
    network.encoder[0].register_forward_hook(lambda module, inputs, output: output * 1)
    kept = network(image).positive
    assert torch.equal(before, kept)
    deep = network.encoder[4]
    deep.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    first = network(image).positive
    other = network(torch.rand(1, 1, 32, 32)).positive
    assert torch.equal(first, other)  # with the deepest features silenced too, nothing of the image is left
    assert not torch.equal(before, first)
