"""AAU-Net: parameter counts, FLOPs, the attention module by hand, and an independent second implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, gflops, randomised

from taichinet.errors import SettingError
from taichinet.models.baselines.aau_net import AAUNet, AAUNetSettings, HybridAdaptiveAttention


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("c", "f", "k", "total"),
    [
        (3, 32, 1, 13_057),
        (32, 32, 1, 52_961),
        (32, 64, 3, 187_841),
        (64, 64, 3, 275_905),
        (256, 512, 1, 7_745_025),
        (512, 512, 1, 13_381_121),
    ],
)
def test_module_has_the_size_of_the_released_module(c: int, f: int, k: int, total: int) -> None:
    assert count(HybridAdaptiveAttention(c, f, k)) == total == 43 * c * f + (6 + 2 * k * k) * f * f + 23 * f + 1


@pytest.mark.parametrize(
    ("modules", "up_convolution", "total"),
    [(2, False, 48_979_155), (2, True, 46_804_595), (1, False, 24_469_642), (1, True, 22_295_082)],
)
def test_each_configuration_has_the_total_of_the_source(modules: int, up_convolution: bool, total: int) -> None:
    settings = AAUNetSettings(in_channels=3, modules_per_stage=modules, up_convolution=up_convolution)
    with torch.device("meta"):
        assert count(AAUNet(settings)) == total


def first_convolution(block: nn.Module) -> nn.Conv2d:
    convolution = next(block.children())
    assert isinstance(convolution, nn.Conv2d)
    return convolution


def test_fusion_kernel_sizes_alternate() -> None:
    network = AAUNet(AAUNetSettings(width=2))

    def kernels(stages: nn.ModuleList) -> list[set[int]]:
        return [
            {first_convolution(module.get_submodule("fuse")).kernel_size[0] for module in stage.children()}
            for stage in stages
        ]

    assert kernels(network.encoder) == [{1}, {3}, {1}, {3}, {1}]
    assert kernels(network.decoder) == [{3}, {1}, {3}, {1}]


def test_module_weights_its_views_and_does_not_end_with_a_relu() -> None:
    torch.manual_seed(0)
    module = HybridAdaptiveAttention(2, 4, 1).eval()
    features = torch.randn(3, 2, 8, 8)
    channel = module.channel
    dilated, wide = channel.dilated(features), channel.wide(features)
    pooled = torch.cat([dilated.mean((2, 3)), wide.mean((2, 3))], dim=1)
    alpha = channel.excite(channel.squeeze(pooled)).sigmoid().reshape(3, 4, 1, 1)
    by_channel = channel.merge(torch.cat([dilated * alpha, wide - wide * alpha], dim=1))
    by_pixel = module.spatial(features)
    beta = module.beta((by_channel + by_pixel).clamp(min=0)).sigmoid()
    expected = module.fuse(torch.cat([by_channel * beta, by_pixel - by_pixel * beta], dim=1))
    output = module(features)
    torch.testing.assert_close(output, expected)
    assert float(output.min()) < 0


def test_views_are_one_dilated_and_one_wide_convolution() -> None:
    channel = HybridAdaptiveAttention(1, 1, 1).channel
    dilated, wide = first_convolution(channel.dilated), first_convolution(channel.wide)
    assert (dilated.kernel_size, dilated.dilation) == ((3, 3), (3, 3))
    assert (wide.kernel_size, wide.dilation) == ((5, 5), (1, 1))


def test_batch_of_one_image_is_rejected_in_training_but_not_in_prediction() -> None:
    network = AAUNet(AAUNetSettings(width=2))
    with pytest.raises(SettingError, match="batches of two or more"):
        network.train()(torch.rand(1, 1, 16, 16))
    assert network.eval()(torch.rand(1, 1, 16, 16)).lesion.shape == (1, 1, 16, 16)


@pytest.mark.parametrize(
    ("modules", "up_convolution", "stated"), [(2, True, 114.20), (1, False, 73.50), (1, True, 63.22)]
)
def test_each_configuration_has_the_flops_of_the_source(modules: int, up_convolution: bool, stated: float) -> None:
    settings = AAUNetSettings(in_channels=3, modules_per_stage=modules, up_convolution=up_convolution)
    assert gflops(AAUNet(settings).eval(), channels=3) == pytest.approx(stated, abs=0.011)


def haam(p: Parts, x: Tensor) -> Tensor:
    channel, spatial = p["channel"], p["spatial"]
    a = channel["dilated"].conv_norm_relu(0, x, dilation=3)
    b = channel["wide"].conv_norm_relu(0, x)
    pooled = torch.cat([a, b], dim=1).flatten(2).mean(2)
    squeezed = F.relu(channel["squeeze"].norm(1, channel["squeeze"].linear("0", pooled)))
    alpha = channel.linear("excite", squeezed).sigmoid()[:, :, None, None]
    ch = channel["merge"].conv_norm_relu(0, torch.cat([alpha * a, (1 - alpha) * b], dim=1))
    sp = spatial[1].conv_norm_relu(0, spatial[0].conv_norm_relu(0, x))
    beta = p.conv("beta", F.relu(ch + sp)).sigmoid()
    return p["fuse"].norm(1, p["fuse"].conv(0, torch.cat([beta * ch, (1 - beta) * sp], dim=1)))


def independent_aau_net(p: Parts, image: Tensor, modules: int) -> Tensor:
    def stage(part: Parts, x: Tensor) -> Tensor:
        for number in range(modules):
            x = haam(part[number], x)
        return x

    skips = [stage(p["encoder"][0], image)]
    for level in range(1, 5):
        skips.append(stage(p["encoder"][level], F.max_pool2d(skips[-1], 2)))
    x = skips[4]
    for turn, skip in enumerate(skips[3::-1]):
        up = p["ups"][turn]
        raised = up.up_conv(x) if up.has("") else x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = stage(p["decoder"][turn], torch.cat([skip, raised], dim=1))
    return p.conv("output", x)


@pytest.mark.parametrize(("modules", "up_convolution"), [(2, False), (1, True)])
def test_network_equals_the_independent_implementation(modules: int, up_convolution: bool) -> None:
    torch.manual_seed(0)
    settings = AAUNetSettings(width=2, modules_per_stage=modules, up_convolution=up_convolution)
    network = randomised(AAUNet(settings), channels=1, size=32)
    image = torch.rand(2, 1, 32, 48)
    parts = Parts(network.state_dict())
    with torch.no_grad():
        assert_agree(network(image).positive, independent_aau_net(parts, image, modules))
    assert not parts.unused
