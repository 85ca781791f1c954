"""FAT-Net: parameter counts, shared adaptation, pretrained DeiT weights, and an independent second implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, gflops, randomised

from taichinet.errors import WeightsError
from taichinet.models.baselines.fat_net import (
    DEIT_TINY,
    AdaptedSkip,
    FATNet,
    FATNetSettings,
    FeatureAdaptation,
)
from taichinet.models.blocks import SqueezeExcitation


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.fixture(scope="module")
def network() -> FATNet:
    torch.manual_seed(0)
    return FATNet(FATNetSettings(in_channels=3)).eval()


def test_every_part_has_the_size_of_the_source(network: FATNet) -> None:
    assert count(network) == 28_758_657
    assert [count(part) for part in network.encoder.stem] == [9_408, 128, 0]
    assert [count(stage) for stage in network.encoder.stages] == [221_952, 1_116_416, 6_822_400, 13_114_368]
    assert (count(network.tokens.patches), count(network.tokens.blocks)) == (147_648, 5_338_368)
    assert count(network.widen) == 98_816
    assert [count(part) for part in network.fusion] == [131_072, 524_800]
    assert [count(skip) for skip in network.adaptation] == [41_088, 164_096, 655_872]
    assert [count(block) for block in network.decoder] == [247_296, 62_208, 15_744]
    assert [count(part) for part in network.head] == [32_800, 0, 9_248, 0, 289]
    assert count(network.unused) == 4_640


def test_separate_modules_give_the_published_total() -> None:
    assert count(FATNet(FATNetSettings(in_channels=3, shared_adaptation=False))) == 30_112_257


def test_block_unused_by_the_official_code_has_no_trainable_weight(network: FATNet) -> None:
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert frozen == {f"unused.{name}" for name, _ in network.unused.named_parameters()}


@pytest.mark.parametrize("shared", [True, False])
def test_skip_is_adapted_the_given_number_of_times(shared: bool) -> None:
    torch.manual_seed(0)
    skip = AdaptedSkip(3, times=4, shared=shared)
    features = torch.randn(1, 3, 5, 5)
    expected = features
    for turn in range(4):
        module = skip.modules_in_turn[0 if shared else turn]
        assert isinstance(module, FeatureAdaptation)
        expected = module.wide(expected).clamp(min=0) + module.narrow(expected).clamp(min=0)
    torch.testing.assert_close(skip(features), expected)


def test_squeeze_and_excitation_weights_channels_by_their_mean() -> None:
    torch.manual_seed(0)
    module = SqueezeExcitation(32)
    features = torch.randn(2, 32, 4, 4)
    weight = module.excite.weight @ (module.squeeze.weight @ features.mean((2, 3)).T).clamp(min=0)
    torch.testing.assert_close(module(features), features * weight.sigmoid().T[:, :, None, None])


def test_tokens_have_no_position_embedding(network: FATNet) -> None:
    """Without position embedding, tokens of equal patches are equal, and shuffled patches give shuffled tokens."""
    image = torch.rand(1, 3, 32, 32)
    swapped = torch.cat([image[..., 16:], image[..., :16]], dim=-1)
    tokens, shuffled = network.tokens(image), network.tokens(swapped)
    torch.testing.assert_close(shuffled, tokens.flip(-1), rtol=1e-4, atol=1e-5)


def test_both_encoders_change_the_output(network: FATNet) -> None:
    image = torch.rand(1, 3, 32, 48)
    before = network(image).positive
    assert before.shape == (1, 1, 32, 48)
    for part in (network.tokens, network.encoder.stages[3], *network.adaptation):
        handle = part.register_forward_hook(lambda module, inputs, output: output + 1)
        assert not torch.equal(before, network(image).positive)
        handle.remove()


def test_transformer_weights_are_loaded_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = timm.create_model(DEIT_TINY, pretrained=False).state_dict()
    path = tmp_path / "deit.pth"
    torch.save(given, path)
    network = FATNet(FATNetSettings(in_channels=1, pretrained_transformer=str(path)))
    loaded = network.tokens.blocks.state_dict()
    assert all(torch.equal(value, given[f"blocks.{name}"]) for name, value in loaded.items())
    kernel = network.tokens.patches["proj"].weight
    torch.testing.assert_close(kernel, given["patch_embed.proj.weight"].sum(dim=1, keepdim=True))
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=DEIT_TINY):
        FATNet(FATNetSettings(pretrained_transformer=str(path)))


def test_separate_modules_do_not_increase_the_flops() -> None:
    cost = gflops(FATNet(FATNetSettings(in_channels=3, shared_adaptation=False)).eval(), channels=3)
    assert cost == pytest.approx(45.85, abs=0.011)


def deit_block(p: Parts, tokens: Tensor) -> Tensor:
    batch, count, width = tokens.shape
    packed = p["attn"].linear("qkv", p.layer_norm("norm1", tokens, eps=1e-6))
    q, k, v = (part.reshape(batch, count, 3, 64).transpose(1, 2) for part in packed.chunk(3, dim=-1))
    attended = (F.softmax(q @ k.mT / 8, dim=-1) @ v).transpose(1, 2).reshape(batch, count, width)
    tokens = tokens + p["attn"].linear("proj", attended)
    hidden = F.gelu(p["mlp"].linear("fc1", p.layer_norm("norm2", tokens, eps=1e-6)))
    return tokens + p["mlp"].linear("fc2", hidden)


def independent_fat_net(p: Parts, image: Tensor, shared: bool) -> Tensor:
    x = p["encoder"]["stem"].resnet_stem(image)
    e = [x := p["encoder"]["stages"][layer].resnet_layer(x, stride=1 if layer == 0 else 2) for layer in range(4)]
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 3, 1, 1)
    kernel, bias = (p["tokens.patches.proj"].get(name) for name in ("weight", "bias"))
    patches = F.conv2d((image - mean) / deviation, kernel, bias, stride=16)
    tokens = patches.flatten(2).transpose(1, 2)
    for block in range(12):
        tokens = deit_block(p["tokens.blocks"][block], tokens)
    both = torch.cat([e[3], p.conv("widen", tokens.transpose(1, 2).reshape(patches.shape))], dim=1)
    squeezed = F.relu(p["fusion"][0].linear("squeeze", both.flatten(2).mean(2)))
    x = p["fusion"].conv(1, both * p["fusion"][0].linear("excite", squeezed).sigmoid()[:, :, None, None])
    for block, times in enumerate((2, 4, 6)):
        skip, modules = e[2 - block], p["adaptation"][2 - block]["modules_in_turn"]
        for turn in range(times):
            module = modules[0 if shared else turn]
            skip = F.relu(module.conv("wide", skip)) + F.relu(module.conv("narrow", skip))
        x = p["decoder"][block].bottleneck_up(x) + skip
    return p["head"].transposed_head(x)


@pytest.mark.parametrize("shared", [True, False])
def test_network_equals_the_independent_implementation(shared: bool) -> None:
    torch.manual_seed(0)
    settings = FATNetSettings(in_channels=3, shared_adaptation=shared)
    network = randomised(FATNet(settings), channels=3, size=32)
    image = torch.rand(1, 3, 32, 48)
    parts = Parts(network.state_dict())
    with torch.no_grad():
        assert_agree(network(image).positive, independent_fat_net(parts, image, shared))
    assert {name.split(".")[0] for name in parts.unused} == {"unused"}
