"""DE-ResUnet in 2-D: parameter counts, nested regions, the strengthen module, and an independent implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, gflops, randomised

from taichinet.models.baselines.de_resunet import (
    DEResUNet,
    DEResUNetSettings,
    ResidualBlock,
    StrengthenModule,
    region_logits,
)


def count(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize(
    ("channels", "regions", "total"), [(1, 1, 3_132_173), (3, 1, 3_133_101), (1, 3, 3_236_923)], ids=str
)
def test_totals_equal_the_port(channels: int, regions: int, total: int) -> None:
    assert count(DEResUNet(DEResUNetSettings(in_channels=channels, num_classes=regions))) == total


def test_every_part_has_the_stated_size() -> None:
    network = DEResUNet()
    assert (count(network.image_stem), count(network.texture_stems)) == (160, 640)
    assert (count(network.image_encoder), count(network.texture_encoder)) == (307_344, 315_024)
    assert count(network.bottleneck) == 1_246_976
    assert (count(network.attention), count(network.decoder)) == (43_520, 1_069_360)
    assert (count(network.side_maps), count(network.finest_map)) == (47_318, 34)
    assert (count(network.coarse), count(network.strengthen), count(network.final)) == (42_434, 39_361, 20_002)


def test_every_side_map_has_a_gradient_at_the_start() -> None:
    torch.manual_seed(0)
    network = DEResUNet(DEResUNetSettings(width=8))
    network(torch.rand(2, 1, 32, 32)).positive.sum().backward()
    for side in network.side_maps:
        gradient = side.get_parameter("reduce.weight").grad
        assert gradient is not None
        assert float(gradient.abs().max()) > 0


def test_region_logits_equal_the_summed_class_probabilities() -> None:
    classes = 3 * torch.randn(2, 4, 5, 5, dtype=torch.float64)
    probability = classes.softmax(dim=1)
    regions = region_logits(classes).sigmoid()
    for region in range(3):
        torch.testing.assert_close(regions[:, region], probability[:, region + 1 :].sum(dim=1))
    saturated = region_logits(torch.tensor([0.0, 300.0]).reshape(1, 2, 1, 1))
    assert saturated.item() == 300


def test_inner_regions_are_inside_outer_regions() -> None:
    torch.manual_seed(0)
    network = DEResUNet(DEResUNetSettings(width=4, num_classes=3)).eval()
    lesion = network(torch.rand(2, 1, 32, 32)).lesion
    assert bool((lesion[:, 1:] <= lesion[:, :-1] + 1e-6).all())


def test_six_maps_are_supervised_and_the_last_is_the_output() -> None:
    network = DEResUNet(DEResUNetSettings(width=4)).eval()
    prediction = network(torch.rand(1, 1, 32, 32))
    assert len(prediction.levels) == 6
    assert prediction.levels[-1] is prediction.positive


def test_strengthen_module_equals_a_calculation_by_hand() -> None:
    torch.manual_seed(0)
    module = StrengthenModule(image_channels=1, width=4).eval()
    tissue, background, image = torch.rand(3, 1, 1, 6, 6).unbind()
    attention = module.attend[2](module.attend[1](module.attend[0](torch.cat([tissue, image], 1)))).sigmoid()
    expected = module.refine(tissue + attention * tissue + 2 * attention - background * attention)
    torch.testing.assert_close(module(tissue, background, image), expected)


def test_textures_change_the_output() -> None:
    torch.manual_seed(0)
    network = DEResUNet(DEResUNetSettings(width=4)).eval()
    image = torch.rand(1, 1, 32, 32)
    before = network(image).positive
    with torch.no_grad():
        network.texture_stems.weight.mul_(2)
    assert not torch.equal(before, network(image).positive)


@pytest.mark.parametrize(("regions", "stated"), [(1, 23.98), (3, 34.39)])
def test_flops_equal_the_measured_port(regions: int, stated: float) -> None:
    network = DEResUNet(DEResUNetSettings(num_classes=regions)).eval()
    assert gflops(network, channels=1) == pytest.approx(stated, abs=0.011)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def residual(p: Parts, x: Tensor, stride: int) -> Tensor:
    """RB: normalisation before each convolution, plus a 1x1 convolution of the raw input."""
    y = p["body"].conv(2, leaky(p["body"].norm(0, x)), stride)
    return p["body"].conv(5, leaky(p["body"].norm(3, y))) + p.conv("shortcut", x, stride)


def refined(p: Parts, x: Tensor) -> Tensor:
    """RA: ends with a ReLU, plus a 1x1 convolution that ends with a LeakyReLU."""
    y = leaky(p["body"].norm(1, p["body"].conv(0, x)))
    return F.relu(p["body"].conv(3, y)) + leaky(p.conv("shortcut", x))


def encoded(p: Parts, x: Tensor) -> list[Tensor]:
    first = p["first"]
    levels = [first.conv(3, leaky(first.norm(1, first.conv(0, x)))) + p.conv("first_shortcut", x)]
    for number in range(3):
        levels.append(residual(p["deeper"][number], levels[-1], stride=2))
    return levels


def strengthened(p: Parts, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    a = p["attend"].conv(2, refined(p["attend"][1], refined(p["attend"][0], torch.cat([x, z], dim=1)))).sigmoid()
    return refined(p["refine"], (1 + a) * x + (2 - y) * a)


def textures(image: Tensor) -> Tensor:
    """Counts of the 64 pairs in each window with black padding, then their moments."""
    grey = (image * 255 / 32).floor().long()
    neighbour = torch.cat([grey[..., 1:], grey[..., -1:]], dim=-1)
    pairs = F.one_hot(grey * 8 + neighbour, 64).movedim(-1, 2).flatten(0, 1).float()
    counts = F.conv2d(pairs.flatten(0, 1)[:, None], torch.ones(1, 1, 5, 5), padding=2).reshape(pairs.shape)
    i, j = torch.arange(64).reshape(64, 1, 1) // 8, torch.arange(64).reshape(64, 1, 1) % 8
    mean = (i * counts).sum(1) / 64
    deviation = ((i * counts - mean[:, None]) ** 2).sum(1).sqrt()
    contrast, dissimilarity = ((i - j) ** 2 * counts).sum(1), ((i - j).abs() * counts).sum(1)
    return torch.stack([mean, deviation, contrast, dissimilarity], dim=1) / 255


def independent_de_resunet(p: Parts, image: Tensor) -> list[Tensor]:
    """Class logits: of the four levels, coarse, final."""
    own = encoded(p["image_encoder"], leaky(p.conv("image_stem", image)))
    texture = encoded(p["texture_encoder"], leaky(p.conv("texture_stems", textures(image), groups=4)))
    x = residual(p["bottleneck"], torch.cat([texture[3], own[3]], dim=1), stride=2)
    logits = []
    for turn, factor in enumerate((8, 4, 2, 1)):
        x = torch.cat([x.repeat_interleave(2, 2).repeat_interleave(2, 3), texture[3 - turn], own[3 - turn]], dim=1)
        se = p["attention"][turn]
        x = x * se.linear("excite", F.relu(se.linear("squeeze", x.flatten(2).mean(2)))).sigmoid()[:, :, None, None]
        x = residual(p["decoder"][turn], x, stride=1)
        if factor == 1:
            logits.append(p.conv("finest_map", x))
            continue
        side = p["side_maps"][turn]
        large = F.interpolate(side.conv("reduce", x), scale_factor=factor, mode="bilinear", align_corners=False)
        logits.append(side.conv("classify", refined(side["refine"], F.relu(large))))
    maps = torch.cat([level.softmax(dim=1) for level in logits], dim=1)
    logits.append(p["coarse"].conv(1, refined(p["coarse"][0], maps)))
    y, *classes = logits[-1].softmax(dim=1).split(1, dim=1)
    s = [strengthened(p["strengthen"][number], x, y, image) for number, x in enumerate(classes)]
    return [*logits, p["final"].conv(1, refined(p["final"][0], torch.cat([y, *s], dim=1)))]


def test_network_equals_the_independent_implementation() -> None:
    """With a black frame, so that the textures do not depend on the padding outside the image."""
    torch.manual_seed(0)
    network = randomised(DEResUNet(DEResUNetSettings(width=4, num_classes=2)), channels=1, size=32)
    image = F.pad(torch.rand(2, 1, 24, 40), (4, 4, 4, 4))
    parts = Parts(network.state_dict())
    with torch.no_grad():
        prediction = network(image)
        expected = independent_de_resunet(parts, image)
    for level, classes in zip(prediction.levels, expected, strict=True):
        background, outer, inner = classes.double().softmax(dim=1).unbind(dim=1)
        odds = torch.stack([(outer + inner) / background, inner / (background + outer)], dim=1)
        assert_agree(level, odds.log().float())
    assert torch.equal(prediction.positive, prediction.levels[-1])
    assert not parts.unused


def test_gradient_of_a_narrow_strided_block_equals_float64() -> None:
    """oneDNN's gradient of a strided 1x1 convolution with fewer channels than a vector register overwrites memory."""
    torch.manual_seed(0)
    block = ResidualBlock(4, 16, stride=2).to(memory_format=torch.channels_last)
    image = torch.randn(16, 4, 64, 64).to(memory_format=torch.channels_last)
    gradients = []
    for _ in range(2):
        block.zero_grad()
        block(image).square().mean().backward()
        gradients.append(block.shortcut.weight.grad.double())  # type: ignore[union-attr]
        block, image = block.double(), image.double()
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
