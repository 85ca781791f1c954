"""Reduced TaiChiNets: shared encoder levels, a narrow path, and a second path for training only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import discs, halves
from torch import Tensor, nn

from taichinet.errors import SettingError
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.recipes.variants import VARIANTS
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.blocks import downsample
from taichinet.models.catalogue import create_model
from taichinet.models.complexity import count_parameters, measure_complexity
from taichinet.models.taichinet.cross_attention import CrossAttention, channel_attention
from taichinet.models.taichinet.network import TaiChiNet, without_training_parts

ONE_PATH: dict[str, Any] = {"cross_attention": False, "head": "none", "second_path_at_inference": False}
REDUCED: list[dict[str, Any]] = [
    {"shared_levels": 1},
    {"shared_levels": 4},
    {"negative_width": 1},
    {"negative_width": 7},
    {"shared_levels": 3, "negative_width": 2, "head": "a", "mutual": "consistent"},
    {"shared_levels": 2, "cross_attention": False, "answer": "mean"},
    ONE_PATH,
    {**ONE_PATH, "shared_levels": 4, "negative_width": 2},
]


def build(seed: int = 0, **options: Any) -> TaiChiNet:
    torch.manual_seed(seed)
    network = create_model("taichinet", **{"width": 4, **options})
    assert isinstance(network, TaiChiNet)
    return network


def example(batch: int = 2, size: int = 32) -> Tensor:
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("options", REDUCED, ids=str)
def test_every_weight_of_a_reduced_network_has_a_gradient(options: dict[str, Any]) -> None:
    network = build(**options).train()
    data = discs(3)
    batch = data.batch(torch.arange(3), halves(data))
    prediction = network(batch.image)
    assert prediction.negative is not None
    assert prediction.positive.shape == prediction.negative.shape == (3, 1, 32, 32)
    objective(prediction, batch, "hard", ObjectiveSettings()).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("shared", [1, 3, 4])
def test_shared_levels_are_computed_once_and_used_by_both_paths(shared: int) -> None:
    network = build(shared_levels=shared, cross_attention=False, head="none").eval()
    assert network.negative is not None
    calls: list[Any] = []
    for level in network.positive.encoder:
        level.register_forward_hook(lambda module, *_: calls.append(module))
    image = example()
    prediction = network(image)
    assert len(calls) == 5
    features: list[Tensor] = []
    below = image
    for number in range(5):  # the negative path: shared levels from the positive encoder, then its own levels
        level = network.positive.encoder[number] if number < shared else network.negative.encoder[number - shared]
        below = level(downsample(below) if features else below)
        features.append(below)
    for skip, up, block in zip(features[3::-1], network.negative.ups, network.negative.decoder, strict=True):
        below = block(torch.cat([skip, up(below)], dim=1))
    torch.testing.assert_close(prediction.negative, network.negative.output(below))


def test_sharing_saves_only_the_levels_of_the_second_path() -> None:
    full, shared = build(), build(shared_levels=3)
    assert full.negative is not None
    saved = sum(count_parameters(level) for level in list(full.negative.encoder)[:3])
    assert count_parameters(full) - count_parameters(shared) == saved
    assert set(shared.state_dict()) < set(full.state_dict())


def test_narrow_path_attends_with_its_own_channels_to_both_paths() -> None:
    torch.manual_seed(3)
    module = CrossAttention(8, 4)
    deep_n, deep_p = torch.randn(2, 4, 3, 5), torch.randn(2, 8, 3, 5)
    enhanced_n, enhanced_p = module(deep_n, deep_p)
    assert enhanced_n.shape == deep_n.shape
    assert enhanced_p.shape == deep_p.shape
    key = torch.cat([module.key_n(deep_n), module.key_p(deep_p)], dim=1)
    value = torch.cat([module.value_n(deep_n), module.value_p(deep_p)], dim=1)
    assert key.shape[1] == value.shape[1] == 2 + 4
    for image, channel in ((0, 0), (1, 3)):
        query = module.query_n(deep_n)[image, channel].flatten()
        weights = torch.softmax(torch.stack([query @ key_channel.flatten() for key_channel in key[image]]), dim=0)
        attended = sum(weight * value_channel for weight, value_channel in zip(weights, value[image], strict=True))
        torch.testing.assert_close(enhanced_n[image, channel], deep_n[image, channel] + attended)
    torch.testing.assert_close(enhanced_p, deep_p + channel_attention(module.query_p(deep_p), key, value))


def test_default_options_draw_unchanged_weights() -> None:
    """Full negative width and no shared level give the paper's network bit for bit."""
    plain, explicit = build(seed=5), build(seed=5, negative_width=4, shared_levels=0)
    for first, second in zip(plain.state_dict().values(), explicit.state_dict().values(), strict=True):
        assert torch.equal(first, second)


# ------------------------------------------------------------------------------ a second path for training only


def test_second_path_for_training_is_not_used_for_prediction() -> None:
    network = build(**ONE_PATH, shared_levels=4)
    image = example()
    assert network.train()(image).negative is not None
    prediction = network.eval()(image)
    assert prediction.negative is None
    for weight in network.negative.parameters():  # type: ignore[union-attr]
        nn.init.normal_(weight)
    assert torch.equal(network(image).positive, prediction.positive)


def test_network_without_training_parts_has_equal_predictions_and_the_weights_of_one_unet() -> None:
    network = build(**ONE_PATH, shared_levels=4, num_classes=2).eval()
    state = torch.get_rng_state()
    reduced = without_training_parts(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert not reduced.training
    assert torch.equal(reduced(example()).positive, network(example()).positive)
    assert count_parameters(reduced) == count_parameters(create_model("unet", width=4, num_classes=2))
    options = reduced.settings.model_dump(exclude_defaults=True)  # type: ignore[operator, union-attr]
    restored = create_model("taichinet", **options)
    restored.load_state_dict(reduced.state_dict())
    assert torch.equal(restored.eval()(example()).positive, network(example()).positive)


@pytest.mark.parametrize("options", [{}, {"shared_levels": 2}, {"answer": "mean", "head": "none"}], ids=str)
def test_network_whose_output_needs_both_paths_keeps_them(options: dict[str, Any]) -> None:
    network = build(**options)
    assert without_training_parts(network) is network
    unet = create_model("unet", width=2)
    assert without_training_parts(unet) is unet


def test_inference_cost_equals_one_unet() -> None:
    reduced = measure_complexity("taichinet", 64, width=4, **ONE_PATH, shared_levels=4)
    assert reduced.gflops == measure_complexity("unet", 64, width=4).gflops


@pytest.mark.parametrize(
    ("options", "expected_text"),
    [
        ({"second_path_at_inference": False}, "must not depend on the second path"),
        ({**ONE_PATH, "answer": "mean"}, "must not depend on the second path"),
        (
            {"second_path": False, "cross_attention": False, "head": "none", "shared_levels": 1},
            "change the second path",
        ),
        (
            {"second_path": False, "cross_attention": False, "head": "none", "negative_width": 2},
            "change the second path",
        ),
        ({"shared_levels": 5}, "less than or equal to 4"),
    ],
    ids=str,
)
def test_contradictory_options_are_rejected(options: dict[str, Any], expected_text: str) -> None:
    with pytest.raises(SettingError, match=expected_text):
        create_model("taichinet", **options)


# --------------------------------------------------------------------------------------------- recipes and export


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_lower_cost_and_the_common_settings(name: str) -> None:
    for scale in ("busi", "cpu", "short", "demo"):
        full, recipe = get_recipe(f"{scale}-taichinet"), get_recipe(f"{scale}-{name}")
        assert recipe.data == full.data
        assert recipe.mining == full.mining
        assert recipe.objective == full.objective
    size = 32
    cost = measure_complexity(recipe.model, size, **recipe.options).gflops
    assert cost < 0.95 * measure_complexity(full.model, size, **full.options).gflops


def test_distilled_network_is_the_unet_with_a_teacher() -> None:
    student, unet = get_recipe("cpu-taichinet-distilled"), get_recipe("cpu-unet")
    assert student.teacher == "cpu-taichinet"
    assert student.model_dump(exclude={"name", "teacher"}) == unet.model_dump(exclude={"name", "teacher"})


class Lesion(nn.Module):
    """The network with a single tensor as output, as exporters require."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        lesion: Tensor = self.network(image).lesion
        return lesion


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"shared_levels": 2, "negative_width": 2}, ONE_PATH], ids=str)
def test_reduced_network_is_captured_as_one_graph(options: dict[str, Any]) -> None:
    """Exporters start from this graph; the contract test exports the full network."""
    network = Lesion(build(**options)).eval()
    image = example(batch=1)
    captured = torch.export.export(network, (image,)).module()
    with torch.no_grad():
        torch.testing.assert_close(captured(image), network(image))
