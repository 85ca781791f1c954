"""X-Net: parameter counts, position embedding, fusion, the variational branch, and an independent implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from written_out import Parts, assert_agree, gflops, randomised

from taichinet.models.baselines.x_net import HEADS, TransformerBlock, XNet, XNetSettings


def count(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def small(**options: object) -> XNet:
    torch.manual_seed(0)
    return XNet(XNetSettings.model_validate({"width": 4, **options}))


def test_every_part_has_the_stated_size() -> None:
    network = XNet(XNetSettings(in_channels=3))
    assert count(network) == 17_363_988
    assert count(network.encoder) == 4_716_192
    transformer = network.transformer
    assert (count(transformer.patches), transformer.position.numel()) == (196_864, 50_176)
    assert (count(transformer.blocks), count(transformer.norm)) == (6_318_080, 512)
    assert sum(count(fusion.get_submodule("adapt")) for fusion in network.fusions) == 248_640
    assert sum(count(fusion.get_submodule("merge")) for fusion in network.fusions) == 699_200
    assert (count(network.ups), count(network.decoder), count(network.output)) == (1_568_160, 2_352_960, 33)
    branch = network.variational
    assert branch is not None
    assert count(branch) == 1_213_171
    assert count(branch.squeeze) == 74_768
    assert (count(branch.mean), count(branch.log_variance), count(branch.expand)) == (100_480, 100_480, 101_136)
    assert (count(branch.stages), count(branch.output)) == (836_256, 51)
    assert count(network) - count(branch) == 16_150_817
    assert count(XNet(XNetSettings(in_channels=3, variational=False))) == 16_150_817


def test_block_is_pre_norm_attention() -> None:
    torch.manual_seed(0)
    width = 2 * HEADS
    block = TransformerBlock(width)
    tokens = torch.randn(2, 5, width)
    reference = nn.MultiheadAttention(width, HEADS, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(block.query_key_value.weight)
        reference.in_proj_bias.copy_(block.query_key_value.bias)
        reference.out_proj.weight.copy_(block.project.weight)
        reference.out_proj.bias.copy_(block.project.bias)
    normed = block.norm_attention(tokens)
    middle = tokens + reference(normed, normed, normed, need_weights=False)[0]
    expected = middle + block.mlp(block.norm_mlp(middle))
    torch.testing.assert_close(block(tokens), expected, rtol=1e-4, atol=1e-5)


def test_position_embedding_is_unchanged_at_224_pixels_and_interpolated_otherwise() -> None:
    transformer = small().transformer
    seen = []
    transformer.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for side in (224, 64):
        image = torch.zeros(1, 1, side, side)
        transformer(image)
        place = (seen[-1].transpose(1, 2) - transformer.patches(image).flatten(2)).reshape(
            1, -1, side // 16, side // 16
        )
        if side == 224:
            torch.testing.assert_close(place, transformer.position.detach(), rtol=1e-4, atol=1e-5)
        assert place.shape[-1] == side // 16
        assert float(place.std()) > 0


def test_both_encoders_feed_every_fused_skip_except_the_full_size_one() -> None:
    network = small().eval()
    image = torch.rand(1, 1, 64, 64)
    inputs: list[torch.Tensor] = []
    for block in network.decoder:
        block.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    network(image)
    before, inputs[:] = list(inputs), []
    with torch.no_grad():
        network.transformer.patches.weight.mul_(3)
    network(image)
    own = [block[0].in_channels // 2 for block in network.decoder]  # type: ignore[index]
    changed = [not torch.equal(a[:, :n], b[:, :n]) for a, b, n in zip(before, inputs, own, strict=True)]
    assert changed == [True, True, True, False]


@pytest.mark.parametrize("side", [64, 224])
def test_variational_branch_reconstructs_the_image_in_training_only(side: int) -> None:
    network = small(in_channels=2)
    image = torch.rand(2, 2, side, side)
    reconstruction = network.train()(image).reconstruction
    assert reconstruction is not None
    assert reconstruction.image.shape == image.shape
    assert reconstruction.mean.shape == reconstruction.log_variance.shape == (2, 128)
    assert network.eval()(image).reconstruction is None
    assert small(variational=False).train()(image[:, :1]).reconstruction is None


def test_reconstruction_has_gradients_in_both_encoders() -> None:
    network = small().train()
    reconstruction = network(torch.rand(2, 1, 64, 64)).reconstruction
    assert reconstruction is not None
    reconstruction.image.square().mean().backward()
    for part in (network.encoder[0], network.transformer.patches):
        assert any(float(weight.grad.abs().max()) > 0 for weight in part.parameters() if weight.grad is not None)
    assert all(weight.grad is None for weight in network.decoder.parameters())


def test_latent_is_sampled_at_every_call() -> None:
    network = small().train()
    image = torch.rand(2, 1, 64, 64)
    first, second = (network(image).reconstruction for _ in range(2))
    assert not torch.equal(first.image, second.image)
    torch.testing.assert_close(first.mean, second.mean, rtol=1e-4, atol=1e-5)


def test_network_with_variational_branch_has_the_stated_flops() -> None:
    assert gflops(XNet(XNetSettings(in_channels=3)).train(), channels=3) == pytest.approx(30.21, abs=0.011)


def transformer_states(p: Parts, image: Tensor) -> list[Tensor]:
    """As maps, after the blocks 2, 4, 6 and 8."""
    patches = F.conv2d(image, p.get("patches.weight"), p.get("patches.bias"), stride=16)
    position = F.interpolate(p.get("position"), size=patches.shape[2:], mode="bilinear", align_corners=False)
    tokens = (patches + position).flatten(2).transpose(1, 2)
    batch, count, width = tokens.shape
    states = []
    for number in range(8):
        block = p["blocks"][number]
        packed = block.linear("query_key_value", block.layer_norm("norm_attention", tokens, eps=1e-5))
        q, k, v = (part.reshape(batch, count, HEADS, -1).transpose(1, 2) for part in packed.chunk(3, dim=-1))
        attention = F.softmax(q @ k.mT / (width / HEADS) ** 0.5, dim=-1)
        attended = (attention @ v).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + block.linear("project", attended)
        hidden = block["mlp"].linear("0", block.layer_norm("norm_mlp", tokens, eps=1e-5))
        tokens = tokens + block["mlp"].linear("2", F.gelu(hidden))
        states.append(tokens)
    last = p.layer_norm("norm", states[7], eps=1e-5)
    return [state.transpose(1, 2).reshape(patches.shape) for state in (states[1], states[3], states[5], last)]


def independent_x_net(p: Parts, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the deepest fused map."""
    local = [p["encoder"][0].double_conv(image)]
    for level in range(1, 5):
        local.append(p["encoder"][level].double_conv(F.max_pool2d(local[-1], 2)))
    levels = [local[0]]
    for number, state in enumerate(transformer_states(p["transformer"], image)):
        fusion, near = p["fusions"][number], local[number + 1]
        far = F.interpolate(fusion["adapt"].conv_norm_relu(0, state), size=near.shape[2:], mode="bilinear")
        levels.append(fusion["merge"].conv_norm_relu(0, torch.cat([near, far], dim=1)))
    x = levels[4]
    for turn in range(4):
        x = p["decoder"][turn].double_conv(torch.cat([levels[3 - turn], p["ups"][turn].up_conv(x)], dim=1))
    return p.conv("output", x), levels[4]


def independent_reconstruction(
    p: Parts, fused: Tensor, size: tuple[int, int], noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    squeeze = F.relu(p["squeeze"].norm(0, F.adaptive_avg_pool2d(fused, 14)))
    flat = p["squeeze"].conv(2, squeeze, stride=2).flatten(1)
    mean, log_variance = p.linear("mean", flat), p.linear("log_variance", flat)
    x = p.linear("expand", mean + (log_variance / 2).exp() * noise).reshape(len(flat), -1, 7, 7)
    for number in range(5):
        stage = p["stages"][number]
        x = stage[0].conv_norm_relu(0, F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        x = stage.conv_norm_relu(1, x)
    drawn = F.interpolate(p.conv("output", x), size=size, mode="bilinear", align_corners=False)
    return drawn, mean, log_variance


@pytest.mark.parametrize("size", [(224, 224), (64, 96)])
def test_network_equals_the_independent_implementation(size: tuple[int, int]) -> None:
    network = randomised(small(), channels=1, size=64)
    image = torch.rand(2, 1, *size)
    parts = Parts(network.state_dict())
    network.training = True  # the variational branch only; BatchNorm stays in evaluation mode
    with torch.no_grad():
        torch.manual_seed(23)
        prediction = network(image)
        torch.manual_seed(23)
        noise = torch.randn(2, 128)
        logits, fused = independent_x_net(parts, image)
        expected_reconstruction = independent_reconstruction(parts["variational"], fused, size, noise)
    assert_agree(prediction.positive, logits)
    reconstruction = prediction.reconstruction
    for value, expected in zip(
        (reconstruction.image, reconstruction.mean, reconstruction.log_variance), expected_reconstruction, strict=True
    ):
        assert_agree(value, expected)
    assert not parts.unused
