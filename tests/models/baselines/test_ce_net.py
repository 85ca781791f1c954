"""CE-Net: parameter counts, shared weights, both context modules by hand, and an independent second implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, randomised

from taichinet.models.baselines.ce_net import CENet, CENetSettings, DenseAtrousConvolution, ResidualMultiKernelPooling
from taichinet.models.catalogue import create_model


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.fixture(scope="module")
def network() -> CENet:
    torch.manual_seed(0)
    return CENet(CENetSettings(in_channels=3)).eval()


def test_every_part_has_the_size_of_the_source(network: CENet) -> None:
    assert count(network) == 29_003_093
    assert [count(part) for part in network.encoder.stem] == [9_408, 128, 0]
    assert [count(stage) for stage in network.encoder.stages] == [221_952, 1_116_416, 6_822_400, 13_114_368]
    assert (count(network.atrous), count(network.pooling)) == (7_342_080, 513)
    assert [count(block) for block in network.decoder] == [250_899, 62_208, 15_744, 4_640]
    assert [count(part) for part in network.head] == [32_800, 0, 9_248, 0, 289]


def test_branches_of_the_atrous_module_share_convolutions() -> None:
    torch.manual_seed(1)
    module = DenseAtrousConvolution(4)
    for convolution in (module.reach_1, module.reach_3, module.reach_5, module.project):
        assert convolution.bias is not None
        assert float(convolution.bias.abs().max()) == 0
        nn.init.normal_(convolution.bias)
    x = torch.randn(2, 4, 7, 7)

    def apply(*names: tuple[str, int]) -> torch.Tensor:
        features = x
        for name, dilation in names:
            layer = getattr(module, name)
            padding = dilation * (layer.kernel_size[0] // 2)
            features = F.conv2d(features, layer.weight, layer.bias, padding=padding, dilation=dilation)
        return features.clamp(min=0)

    d1, d3, d5, p = ("reach_1", 1), ("reach_3", 3), ("reach_5", 5), ("project", 1)
    expected = x + apply(d1) + apply(d3, p) + apply(d1, d3, p) + apply(d1, d3, d5, p)
    torch.testing.assert_close(module(x), expected)


def test_pooling_module_adds_one_map_per_window_before_the_features() -> None:
    torch.manual_seed(2)
    module = ResidualMultiKernelPooling(4)
    x = torch.randn(1, 4, 12, 12)
    out = module(x)
    assert out.shape == (1, 8, 12, 12)
    assert torch.equal(out[:, 4:], x)
    weight, bias = module.squeeze.weight[0, :, 0, 0], module.squeeze.bias[0]  # type: ignore[index]
    for index, window in enumerate((2, 3, 5, 6)):
        side = 12 // window
        small = torch.zeros(1, 1, side, side)
        for row in range(side):
            for column in range(side):
                patch = x[0, :, row * window : (row + 1) * window, column * window : (column + 1) * window]
                small[0, 0, row, column] = patch.amax(dim=(1, 2)) @ weight + bias
        expected = F.interpolate(small, size=(12, 12), mode="bilinear")
        torch.testing.assert_close(out[:, index : index + 1], expected)


def test_windows_are_limited_to_the_size_of_a_small_map(network: CENet) -> None:
    pooled = network.pooling(torch.randn(1, 512, 2, 4))
    assert pooled.shape == (1, 516, 2, 4)
    assert network(torch.rand(1, 3, 64, 96)).lesion.shape == (1, 1, 64, 96)


def test_each_skip_changes_the_output(network: CENet) -> None:
    image = torch.rand(1, 3, 64, 64)
    before = network(image).positive
    for stage in network.encoder.stages:
        handle = stage.register_forward_hook(lambda module, inputs, output: output + 1)
        after = network(image).positive
        handle.remove()
        assert not torch.equal(before, after)
    assert torch.equal(before, network(image).positive)


def independent_ce_net(p: Parts, image: Tensor) -> Tensor:
    stages, atrous = p["encoder"]["stages"], p["atrous"]
    e1 = stages[0].resnet_layer(F.max_pool2d(p["encoder"]["stem"].resnet_stem(image), 3, 2, 1), stride=1)
    e2 = stages[1].resnet_layer(e1, stride=2)
    e3 = stages[2].resnet_layer(e2, stride=2)
    e4 = stages[3].resnet_layer(e3, stride=2)
    reach_1, reach_3 = atrous.conv("reach_1", e4), atrous.conv("reach_3", e4, dilation=3)
    both = atrous.conv("reach_3", reach_1, dilation=3)
    all_three = atrous.conv("reach_5", both, dilation=5)
    branches = [reach_1, *(atrous.conv("project", branch) for branch in (reach_3, both, all_three))]
    x = e4 + sum(F.relu(branch) for branch in branches)
    pooled = [p["pooling"].conv("squeeze", F.max_pool2d(x, window, window)) for window in (2, 3, 5, 6)]
    maps = [F.interpolate(pooled_map, size=x.shape[2:], mode="bilinear", align_corners=False) for pooled_map in pooled]
    d4 = p["decoder"][0].bottleneck_up(torch.cat([*maps, x], dim=1)) + e3
    d3 = p["decoder"][1].bottleneck_up(d4) + e2
    d2 = p["decoder"][2].bottleneck_up(d3) + e1
    return p["head"].transposed_head(p["decoder"][3].bottleneck_up(d2))


def test_network_equals_the_independent_implementation() -> None:
    """At 192 px, the smallest image whose deepest map is as large as the widest window."""
    torch.manual_seed(0)
    network = randomised(CENet(CENetSettings(in_channels=3)), channels=3, size=64)
    image = torch.rand(1, 3, 192, 192)
    parts = Parts(network.state_dict())
    with torch.no_grad():
        assert_agree(network(image).positive, independent_ce_net(parts, image))
    assert not parts.unused


@pytest.mark.parametrize("model", ["ce-net", "fat-net"])
def test_positive_output_starts_at_the_lesion_prior_and_the_second_path_at_one_half(model: str) -> None:
    network = create_model(model, num_classes=2, lesion_prior=0.2, second_path={})
    assert torch.sigmoid(network.positive.head[-1].bias).tolist() == pytest.approx([0.2, 0.2])  # type: ignore[union-attr, index]
    for without_prior in (network.negative, create_model(model, lesion_prior=0.5)):
        bias = without_prior.head[-1].bias  # type: ignore[union-attr, index]
        assert float(bias.abs().max()) < 1 / (32 * 9) ** 0.5  # bound of PyTorch's default initialisation
