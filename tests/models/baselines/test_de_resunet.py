"""DE-ResUnet's 2-D port: totals and sub-totals, nested regions from exclusive classes, the strengthen module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taichinet.models.baselines.de_resunet import DEResUNet, DEResUNetSettings, region_logits
from taichinet.models.baselines.de_resunet_blocks import StrengthenModule


def count(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize(
    ("channels", "regions", "total"), [(1, 1, 3_132_173), (3, 1, 3_133_101), (1, 3, 3_236_923)], ids=str
)
def test_the_totals_are_the_ports(channels: int, regions: int, total: int) -> None:
    assert count(DEResUNet(DEResUNetSettings(in_channels=channels, num_classes=regions))) == total


def test_every_part_has_the_stated_size() -> None:
    network = DEResUNet()
    assert (count(network.image_stem), count(network.texture_stems)) == (160, 640)
    assert (count(network.image_encoder), count(network.texture_encoder)) == (307_344, 315_024)
    assert count(network.bottleneck) == 1_246_976
    assert (count(network.attention), count(network.decoder)) == (43_520, 1_069_360)
    assert (count(network.side_maps), count(network.finest_map)) == (47_318, 34)
    assert (count(network.coarse), count(network.strengthen), count(network.final)) == (42_434, 39_361, 20_002)


def test_no_side_map_starts_dead() -> None:
    torch.manual_seed(0)
    network = DEResUNet(DEResUNetSettings(width=8))
    network(torch.rand(2, 1, 32, 32)).positive.sum().backward()
    for side in network.side_maps:
        assert float(side.reduce.weight.grad.abs().max()) > 0  # type: ignore[union-attr]


def test_region_logits_are_those_of_the_summed_class_probabilities() -> None:
    classes = 3 * torch.randn(2, 4, 5, 5, dtype=torch.float64)
    probability = classes.softmax(dim=1)
    regions = region_logits(classes).sigmoid()
    for region in range(3):
        torch.testing.assert_close(regions[:, region], probability[:, region + 1 :].sum(dim=1))
    saturated = region_logits(torch.tensor([0.0, 300.0]).reshape(1, 2, 1, 1))
    assert saturated.item() == 300


def test_inner_regions_lie_within_outer_ones() -> None:
    torch.manual_seed(0)
    network = DEResUNet(DEResUNetSettings(width=4, num_classes=3)).eval()
    lesion = network(torch.rand(2, 1, 32, 32)).lesion
    assert bool((lesion[:, 1:] <= lesion[:, :-1] + 1e-6).all())


def test_six_maps_are_supervised_and_the_last_is_the_answer() -> None:
    network = DEResUNet(DEResUNetSettings(width=4)).eval()
    prediction = network(torch.rand(1, 1, 32, 32))
    assert len(prediction.levels) == 6
    assert prediction.levels[-1] is prediction.positive


def test_the_strengthen_module_by_hand() -> None:
    torch.manual_seed(0)
    module = StrengthenModule(image_channels=1, width=4).eval()
    tissue, background, image = torch.rand(3, 1, 1, 6, 6).unbind()
    attention = module.attend[2](module.attend[1](module.attend[0](torch.cat([tissue, image], 1)))).sigmoid()
    expected = module.refine(tissue + attention * tissue + 2 * attention - background * attention)
    torch.testing.assert_close(module(tissue, background, image), expected)


def test_textures_reach_the_answer() -> None:
    torch.manual_seed(0)
    network = DEResUNet(DEResUNetSettings(width=4)).eval()
    image = torch.rand(1, 1, 32, 32)
    before = network(image).positive
    with torch.no_grad():
        network.texture_stems.weight.mul_(2)
    assert not torch.equal(before, network(image).positive)
