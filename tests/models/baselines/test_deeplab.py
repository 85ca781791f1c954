"""DeepLabv3 and v3+: sizes, FLOPs, strides, dilations, the pyramid, dropout, and independent implementations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, randomised

from taichinet.errors import SettingError
from taichinet.models.baselines.deeplab import (
    AtrousSpatialPyramidPooling,
    DeepLabV3,
    DeepLabV3Plus,
    DeepLabV3PlusSettings,
    DeepLabV3Settings,
)
from taichinet.models.complexity import measure_complexity

VARIANTS = [
    ("deeplabv3+", {}, 40_347_041, 26.47),
    ("deeplabv3+", {"decoder_convolutions": 1}, 39_756_705, 22.77),
    ("deeplabv3+", {"decoder_convolutions": 1, "output_stride": 8}, 39_756_705, 66.16),
    ("deeplabv3+", {"backbone": "resnet101"}, 59_339_169, 33.89),
    ("deeplabv3+", {"backbone": "resnet101", "decoder_convolutions": 1}, 58_748_833, 30.19),
    ("deeplabv3", {}, 39_633_729, 62.61),
    ("deeplabv3", {"output_stride": 16}, 39_633_729, 18.53),
    ("deeplabv3", {"backbone": "resnet101"}, 58_625_857, 92.31),
]


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(("model", "options", "total", "gflops"), VARIANTS)
def test_every_variant_has_the_size_and_flops_of_its_source(
    model: str, options: dict[str, Any], total: int, gflops: float
) -> None:
    cost = measure_complexity(model, 224, in_channels=3, **options)
    assert cost.parameters == total
    assert cost.gflops == pytest.approx(gflops, abs=0.011)


def test_parts_have_the_sizes_of_the_source() -> None:
    network = DeepLabV3Plus(DeepLabV3PlusSettings(in_channels=3))
    assert count(network.encoder) == 23_508_032
    assert count(network.pyramid) == 15_535_104
    assert count(network.low_level) == 12_384


@pytest.mark.parametrize(
    ("network", "stride", "dilations"),
    [
        (DeepLabV3Plus(), 16, [6, 12, 18]),
        (DeepLabV3Plus(DeepLabV3PlusSettings(output_stride=8)), 8, [12, 24, 36]),
        (DeepLabV3(), 8, [12, 24, 36]),
        (DeepLabV3(DeepLabV3Settings(output_stride=16)), 16, [6, 12, 18]),
    ],
    ids=["plus-16", "plus-8", "v3-8", "v3-16"],
)
def test_backbone_stride_determines_the_dilations_of_the_pyramid(
    network: DeepLabV3 | DeepLabV3Plus, stride: int, dilations: list[int]
) -> None:
    deep = network.eval().encoder(torch.rand(1, 1, 64, 64))[-1]
    assert deep.shape == (1, 2048, 64 // stride, 64 // stride)
    assert [view[0].dilation[0] for view in network.pyramid.views] == [1, *dilations]  # type: ignore[index]


def test_pyramid_has_five_views() -> None:
    torch.manual_seed(0)
    pyramid = AtrousSpatialPyramidPooling(3, (1, 2, 3), dropout=0.5).eval()
    x = torch.randn(2, 3, 6, 6)
    views = [pyramid.views[0](x)]
    for dilation, view in zip((1, 2, 3), list(pyramid.views)[1:], strict=True):
        convolved = F.conv2d(x, view[0].weight, padding=dilation, dilation=dilation)  # type: ignore[index]
        views.append(view[1](convolved).clamp(min=0))  # type: ignore[index]
    pooled = pyramid.pooled(F.adaptive_avg_pool2d(x, 1))
    views.append(F.interpolate(pooled, size=(6, 6), mode="bilinear"))
    torch.testing.assert_close(pyramid(x), pyramid.merge(torch.cat(views, dim=1)))


def test_only_v3_plus_has_a_skip_connection() -> None:
    for network in (DeepLabV3Plus().eval(), DeepLabV3().eval()):
        image = torch.rand(1, 1, 32, 32)
        before = network(image).positive
        blank = network.encoder.stages[3].register_forward_hook(lambda m, i, output: torch.zeros_like(output))
        first, other = network(image).positive, network(torch.rand(1, 1, 32, 32)).positive
        blank.remove()
        assert torch.equal(first, other) is isinstance(network, DeepLabV3)
        assert torch.equal(before, network(image).positive)


@pytest.mark.parametrize("network", [DeepLabV3Plus(), DeepLabV3()], ids=["plus", "v3"])
def test_batch_of_one_image_is_rejected_in_training_but_not_in_prediction(network: nn.Module) -> None:
    with pytest.raises(SettingError, match="batches of two or more"):
        network.train()(torch.rand(1, 1, 32, 32))
    assert network.eval()(torch.rand(1, 1, 32, 32)).lesion.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("build", [DeepLabV3Plus, DeepLabV3], ids=["plus", "v3"])
def test_half_of_the_pyramid_features_are_dropped_in_training(build: Any) -> None:
    torch.manual_seed(0)
    network = build()
    outputs: dict[str, Tensor] = {}
    for name, part in (("whole", network.pyramid.merge), ("dropped", network.pyramid)):
        part.register_forward_hook(lambda module, given, output, name=name: outputs.update({name: output}))
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        network.eval()(image)
        assert torch.equal(outputs["dropped"], outputs["whole"])
        network.train()(image)
    positive = outputs["whole"] > 0
    not_dropped = outputs["dropped"] > 0
    torch.testing.assert_close(outputs["dropped"][not_dropped], 2 * outputs["whole"][not_dropped])
    assert float(not_dropped[positive].float().mean()) == pytest.approx(0.5, abs=0.1)


def backbone(p: Parts, image: Tensor, dilated: dict[int, tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Outputs of the first and the last layer; `dilated` layers have these dilations instead of a stride."""
    x = first = p["stages"][0].resnet_layer(F.max_pool2d(p["stem"].resnet_stem(image), 3, 2, 1), stride=1)
    for layer in (1, 2, 3):
        first_block, others = dilated.get(layer + 1, (1, 1))
        x = p["stages"][layer].resnet_layer(x, 1 if layer + 1 in dilated else 2, first_block, others)
    return first, x


def pyramid(p: Parts, x: Tensor, dilations: tuple[int, int, int]) -> Tensor:
    views = [p["views"][0].conv_norm_relu(0, x)]
    views += [p["views"][i].conv_norm_relu(0, x, dilation=dilation) for i, dilation in enumerate(dilations, start=1)]
    pooled = p["pooled"].conv_norm_relu(0, F.adaptive_avg_pool2d(x, 1))
    views.append(F.interpolate(pooled, size=x.shape[2:], mode="bilinear", align_corners=False))
    return p["merge"].conv_norm_relu(0, torch.cat(views, dim=1))


def independent_v3_plus(p: Parts, image: Tensor) -> Tensor:
    low, high = backbone(p["encoder"], image, dilated={4: (1, 2)})
    views = pyramid(p["pyramid"], high, (6, 12, 18))
    raised = F.interpolate(views, scale_factor=4, mode="bilinear", align_corners=False)
    x = torch.cat([p["low_level"].conv_norm_relu(0, low), raised], dim=1)
    x = p["decoder"][1].conv_norm_relu(0, p["decoder"][0].conv_norm_relu(0, x))
    return F.interpolate(p.conv("head", x), scale_factor=4, mode="bilinear", align_corners=False)


def independent_v3(p: Parts, image: Tensor) -> Tensor:
    _, high = backbone(p["encoder"], image, dilated={3: (1, 2), 4: (2, 4)})
    x = p["decoder"].conv_norm_relu(0, pyramid(p["pyramid"], high, (12, 24, 36)))
    return F.interpolate(p.conv("head", x), scale_factor=8, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(
    ("network", "independent"),
    [(DeepLabV3Plus, independent_v3_plus), (DeepLabV3, independent_v3)],
    ids=["plus", "v3"],
)
def test_network_equals_the_independent_implementation(network: Any, independent: Any) -> None:
    """At 112 px, where the deepest map is larger than the smallest dilation of the pyramid."""
    torch.manual_seed(0)
    network = randomised(network(), channels=1, size=64)
    image = torch.rand(1, 1, 112, 112)
    parts = Parts(network.state_dict())
    with torch.no_grad():
        assert_agree(network(image).positive, independent(parts, image))
    assert not parts.unused
