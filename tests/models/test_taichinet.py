"""TaiChiNet and its variants: printed totals, Eq. 6-12 in an independent form, options, sizes and files."""

from __future__ import annotations

import json
from itertools import pairwise, product
from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import discs, halves, tiny_network
from numpy.typing import NDArray
from torch import Tensor, nn

from taichinet.batch import Batch, Prediction
from taichinet.errors import SettingError, TaiChiNetError, WeightsError
from taichinet.losses.auxiliary import AuxiliarySettings
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.catalogue import create_model, list_models
from taichinet.models.taichinet.complementary_head import ComplementaryHead
from taichinet.models.taichinet.cross_attention import CrossAttention, channel_attention
from taichinet.models.taichinet.network import TaiChiNetSettings
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig

BARE: dict[str, Any] = {"cross_attention": False, "head": "none"}
ONE_PATH = {**BARE, "second_path": False}
TWO_PATHS = [
    {"cross_attention": attention, "head": head, "head_space": space, "mutual": mutual}
    for attention, mutual, (head, space) in product(
        (True, False),
        ("complementary", "consistent"),
        [("none", "logit"), *product("abc", ("logit", "squash", "clamp"))],
    )
]
COMBINATIONS: list[dict[str, Any]] = [ONE_PATH, *TWO_PATHS]


def name_of(options: dict[str, Any]) -> str:
    return "-".join(str(value) for value in options.values())


def count(model: str, **options: object) -> int:
    return sum(weight.numel() for weight in create_model(model, **options).parameters())


def example(batch: int = 3, size: int = 32, channels: int = 1) -> Tensor:
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(7))


# ------------------------------------------------------------------------------------------- printed totals


@pytest.mark.parametrize(
    ("model", "options", "printed"),
    [
        ("unet", {}, 8_637_601),
        ("unet", {"output_kernel": 1}, 8_637_345),
        ("taichinet", ONE_PATH, 8_637_601),
        ("taichinet", BARE, 17_275_202),
        ("taichinet", {"head": "none"}, 18_325_826),
        ("unet++", {}, 9_163_428),
        ("unet++", {"deep_supervision": False}, 9_163_329),
    ],
    ids=lambda value: name_of(value) if isinstance(value, dict) else str(value),
)
def test_parameter_totals_with_rgb_input_are_the_printed_ones(
    model: str, options: dict[str, Any], printed: int
) -> None:
    assert count(model, in_channels=3, **options) == printed


def test_one_input_channel_saves_one_kernel_row_in_each_encoder() -> None:
    saved = 2 * 32 * 9  # two input channels fewer, 32 kernels of 3x3
    assert count("unet", output_kernel=1) == 8_636_769
    assert count("unet", in_channels=3) - count("unet") == saved
    assert count("taichinet", in_channels=3) - count("taichinet") == 2 * saved
    assert count("unet++", in_channels=3) - count("unet++") == saved


@pytest.mark.parametrize("head", ["a", "b", "c"])
def test_head_does_not_change_the_printed_millions(head: str) -> None:
    with_head = count("taichinet", in_channels=3, head=head)
    assert 0 < with_head - 18_325_826 < 9_000
    assert f"{with_head / 1e6:.2f}M" == "18.33M"


def test_switching_a_part_off_removes_exactly_its_parameters() -> None:
    width, hidden = 4, 5
    deep = 16 * width
    full = count("taichinet", width=width, head_hidden=hidden)
    head = 2 * ((hidden + hidden) + (hidden + 1))
    assert full - count("taichinet", width=width, head="none") == head
    convolutions = 2 * ((9 * hidden + hidden) + (9 * hidden + 1))
    assert (
        count("taichinet", width=width, head_hidden=hidden, head="a") - count("taichinet", width=width, head="none")
        == convolutions
    )
    query, key, value = deep * deep + deep, deep * deep // 2 + deep // 2, deep * deep // 2 + deep // 2
    attention = 2 * (query + key + value)
    assert full - count("taichinet", width=width, head_hidden=hidden, cross_attention=False) == attention
    two = count("taichinet", width=width, **BARE)
    assert two == 2 * count("taichinet", width=width, **ONE_PATH) == 2 * count("unet", width=width)
    assert full == two + head + attention


def test_options_without_weights_add_no_parameter() -> None:
    options = [{"mutual": "consistent"}, {"answer": "mean"}, {"head": "b"}]
    options += [{"head_space": space} for space in ("squash", "clamp")]
    assert {count("taichinet", width=2, **option) for option in options} == {count("taichinet", width=2)}


# ------------------------------------------------------------------------------- C2-attention, Eq. 6-9


def pixelwise(layer: nn.Conv2d, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """A 1x1 convolution of one image's (C, N) features, channel by channel."""
    weight = layer.weight.detach().double().numpy()[:, :, 0, 0]
    assert layer.bias is not None
    bias = layer.bias.detach().double().numpy()
    output = np.zeros((len(weight), features.shape[1]))
    for out in range(len(weight)):
        output[out] = bias[out]
        for inside in range(len(features)):
            output[out] += weight[out, inside] * features[inside]
    return output


def attended(
    features: NDArray[np.float64],
    query: NDArray[np.float64],
    keys: list[NDArray[np.float64]],
    values: list[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """F + softmax(Q K^T) V, computed per query channel."""
    enhanced = features.copy()
    for channel in range(len(query)):
        scores = [float(sum(query[channel] * key)) for key in keys]
        powers = [np.exp(score - max(scores)) for score in scores]
        for power, value in zip(powers, values, strict=True):
            enhanced[channel] += power / sum(powers) * value
    return enhanced


def test_cross_attention_equals_loops_over_channels() -> None:
    torch.manual_seed(1)
    channels, height, width = 6, 2, 3
    module = CrossAttention(channels)
    deep_n, deep_p = torch.randn(2, channels, height, width), torch.randn(2, channels, height, width)
    enhanced_n, enhanced_p = module(deep_n, deep_p)
    for image in range(2):
        flat_n = deep_n[image].double().numpy().reshape(channels, -1)
        flat_p = deep_p[image].double().numpy().reshape(channels, -1)
        keys = [*pixelwise(module.key_n, flat_n), *pixelwise(module.key_p, flat_p)]
        values = [*pixelwise(module.value_n, flat_n), *pixelwise(module.value_p, flat_p)]
        assert len(keys) == len(values) == channels
        expected_n = attended(flat_n, pixelwise(module.query_n, flat_n), keys, values)
        expected_p = attended(flat_p, pixelwise(module.query_p, flat_p), keys, values)
        actual_n = enhanced_n[image].detach().numpy().reshape(channels, -1)
        actual_p = enhanced_p[image].detach().numpy().reshape(channels, -1)
        np.testing.assert_allclose(actual_n, expected_n, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(actual_p, expected_p, rtol=1e-5, atol=1e-5)


def test_attention_mixes_the_paths_only_if_enabled() -> None:
    for attention in (True, False):
        network = tiny_network(width=4, cross_attention=attention, head="none").train()
        image = example()
        before = network(image)
        with torch.no_grad():
            network.negative.encoder[4][3].weight.add_(0.5)  # type: ignore[union-attr, index]
        after = network(image)
        assert not torch.equal(before.negative, after.negative)
        assert torch.equal(before.positive, after.positive) is not attention


def test_attention_is_computed_in_float32_under_bf16_autocast() -> None:
    torch.manual_seed(0)
    module = CrossAttention(8)
    deep = torch.randn(1, 8, 14, 14)
    query, key = module.query_n(deep), module.key_n(deep)
    values = torch.cat([key, key], dim=1)
    plain = channel_attention(query, values, values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(channel_attention(query, values, values), plain)


# --------------------------------------------------------------------------- complementary head, Eq. 10-12


def head_of(order: str, space: str = "logit", mutual: str = "complementary") -> ComplementaryHead:
    torch.manual_seed(3)
    settings = TaiChiNetSettings.model_validate({"head": order, "head_space": space, "mutual": mutual})
    head = ComplementaryHead(settings, settings.num_classes)
    with torch.no_grad():  # messages large enough to leave [0, 1]
        for refiner in (head.refine_n, head.refine_p):
            refiner.get_parameter("2.weight").mul_(8)
    return head


def logit_maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    maps = 4 * torch.randn(2, 2, 1, 6, 6, generator=generator)
    return maps[0], maps[1]


def logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def gelu(value: float) -> float:
    return value * (1 + erf(value / sqrt(2))) / 2


def mlp_of(refiner: nn.Module, value: float) -> float:
    """The perceptron applied to one number, neuron by neuron."""
    raising, raised_bias, lowering, lowered_bias = (
        weight.detach().flatten().tolist() for weight in refiner.parameters()
    )
    total = lowered_bias[0]
    for up, bias, down in zip(raising, raised_bias, lowering, strict=True):
        total += down * gelu(up * value + bias)
    return float(total)


def refined_probability(own_logit: float, message: float, space: str) -> float:
    if space == "logit":
        return logistic(own_logit + message)
    total = logistic(own_logit) + message
    return logistic(total) if space == "squash" else min(max(total, 1e-4), 1 - 1e-4)


@pytest.mark.parametrize("mutual", ["complementary", "consistent"])
@pytest.mark.parametrize("space", ["logit", "squash", "clamp"])
@pytest.mark.parametrize("order", ["b", "c"])
def test_mlp_head_equals_equations_10_to_12_pixel_by_pixel(order: str, space: str, mutual: str) -> None:
    head = head_of(order, space, mutual)
    logits_n, logits_p = (maps[:1, :, :3, :3] for maps in logit_maps())
    actual_n, actual_p = (torch.sigmoid(logits).detach() for logits in head(logits_n, logits_p))

    def message_input(value: float) -> float:
        return 1 - value if mutual == "complementary" else value

    for row, column in product(range(3), range(3)):
        n, p = float(logits_n[0, 0, row, column]), float(logits_p[0, 0, row, column])
        if order == "c":
            output_n = refined_probability(n, mlp_of(head.refine_n, message_input(logistic(p))), space)
            output_p = refined_probability(p, mlp_of(head.refine_p, message_input(output_n)), space)
        else:
            output_p = refined_probability(p, mlp_of(head.refine_p, message_input(logistic(n))), space)
            output_n = refined_probability(n, mlp_of(head.refine_n, message_input(output_p)), space)
        assert float(actual_n[0, 0, row, column]) == pytest.approx(output_n, abs=1e-5)
        assert float(actual_p[0, 0, row, column]) == pytest.approx(output_p, abs=1e-5)


@pytest.mark.parametrize("order", ["a", "b", "c"])
def test_second_refinement_reads_the_result_of_the_first(order: str) -> None:
    """A change of the first MLP changes both outputs, a change of the second MLP only its own."""
    logits_n, logits_p = logit_maps()
    head = head_of(order)
    before_n, before_p = head(logits_n, logits_p)
    first, second = ("refine_p", "refine_n") if order == "b" else ("refine_n", "refine_p")
    for changed in (first, second):
        head = head_of(order)
        with torch.no_grad():
            getattr(head, changed)[2].bias.add_(1)
        after_n, after_p = head(logits_n, logits_p)
        output_changed = {
            "refine_n": not torch.equal(before_n, after_n),
            "refine_p": not torch.equal(before_p, after_p),
        }
        assert output_changed[changed]
        assert output_changed[second if changed == first else first] is (changed == first)


@pytest.mark.parametrize("order", ["a", "b", "c"])
@pytest.mark.parametrize("perturbed", ["negative", "positive"])
def test_one_pixel_changes_both_outputs_and_with_mlps_only_that_pixel(order: str, perturbed: str) -> None:
    head = head_of(order)
    logits_n, logits_p = logit_maps()
    before = head(logits_n, logits_p)
    moved = (logits_n if perturbed == "negative" else logits_p).clone()
    moved[0, 0, 2, 2] += 3
    after = head(moved, logits_p) if perturbed == "negative" else head(logits_n, moved)
    for old, new in zip(before, after, strict=True):
        changed = {tuple(index) for index in (old != new).nonzero().tolist()}
        assert (0, 0, 2, 2) in changed
        if order != "a":
            assert changed == {(0, 0, 2, 2)}
    spread = sum(int((old != new).sum()) for old, new in zip(before, after, strict=True))
    assert (spread > 2) is (order == "a")


@pytest.mark.parametrize("space", ["logit", "squash", "clamp"])
def test_every_space_keeps_probabilities_within_0_and_1_and_logits_finite(space: str) -> None:
    head = head_of("c", space)
    logits_n, logits_p = logit_maps()
    for scale in (1, 100):
        for logits in head(scale * logits_n, -scale * logits_p):
            probability = torch.sigmoid(logits)
            assert torch.isfinite(logits).all()
            assert ((probability >= 0) & (probability <= 1)).all()


def test_clamping_limits_the_printed_sum_to_its_range() -> None:
    head = head_of("c", "clamp")
    with torch.no_grad():
        head.refine_n.get_parameter("2.bias").fill_(5)
        head.refine_p.get_parameter("2.bias").fill_(-5)
    output_n, output_p = (torch.sigmoid(logits) for logits in head(*logit_maps()))
    assert torch.allclose(output_n, torch.tensor(1 - 1e-4), atol=1e-6)
    assert torch.allclose(output_p, torch.tensor(1e-4), atol=1e-6)


def test_clamped_pixel_has_no_gradient_and_clamping_is_not_the_default() -> None:
    clamped = head_of("c", "clamp")
    with torch.no_grad():
        clamped.refine_p.get_parameter("2.bias").fill_(50)
    for head, has_gradient in ((clamped, False), (head_of("c", "logit"), True)):
        logits_n, logits_p = (maps.clone().requires_grad_() for maps in logit_maps())
        head(logits_n, logits_p)[1].sum().backward()
        assert logits_p.grad is not None
        assert (float(logits_p.grad.abs().max()) > 0) is has_gradient
    assert TaiChiNetSettings().head_space == "logit"


# ------------------------------------------------------------------------------------ mutual learning, output


def test_second_path_predicts_the_lesion_in_consistent_learning() -> None:
    complementary = tiny_network(mutual="complementary", head="none", background_prior=0.5).eval()
    consistent = tiny_network(mutual="consistent", head="none", background_prior=0.5).eval()
    image = example()
    first, second = complementary(image), consistent(image)
    assert torch.equal(first.negative, second.negative)  # identical weights with another interpretation of the output
    assert first.negative_sees == "background"
    assert second.negative_sees == "lesion"
    assert torch.allclose(first.second_opinion, 1 - torch.sigmoid(first.negative))
    assert torch.allclose(second.second_opinion, torch.sigmoid(second.negative))


def test_second_path_starts_at_the_background_prior_only_if_it_learns_the_background() -> None:
    """Only the bias depends on the prior; all other weights are drawn equally."""
    for prior in (0.75, 0.9):
        network = tiny_network(background_prior=prior)
        assert torch.allclose(torch.sigmoid(network.get_parameter("negative.output.bias")), torch.tensor(prior))
    unbiased = tiny_network(background_prior=0.5).state_dict()
    for name, value in tiny_network().state_dict().items():
        assert torch.equal(value, unbiased[name]) == (name != "negative.output.bias")
    consistent = tiny_network(mutual="consistent").state_dict()
    assert torch.equal(consistent["negative.output.bias"], unbiased["negative.output.bias"])


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 0.01),  # O_n starts near the prior of the background, not at it: the head adds to O_n' as well
        ({"head": "a"}, 0.01),
        ({"head": "b"}, 1e-5),
        ({"head": "none"}, 1e-5),
        ({"mutual": "consistent"}, 0.01),
        ({"num_classes": 2}, 0.01),
        (ONE_PATH, 1e-5),
    ],
)
def test_lesion_output_starts_at_the_lesion_prior(options: dict[str, Any], tolerance: float) -> None:
    """Only the bias of the positive output depends on the prior."""
    for prior in (0.2, 0.65):
        network = tiny_network(lesion_prior=prior, **options).eval()
        usual = tiny_network(**options).state_dict()
        changed = [name for name, value in network.state_dict().items() if not torch.equal(value, usual[name])]
        assert changed == ["positive.output.bias"]
        for name, weights in network.named_parameters():
            if name.endswith("output.weight"):
                nn.init.zeros_(weights)  # the outputs of the paths are then their biases
        centre = torch.sigmoid(network(example()).positive)[..., 8:-8, 8:-8]  # head (a) pads its convolutions
        assert torch.allclose(centre, torch.tensor(prior), atol=tolerance)


def test_lesion_prior_is_that_of_the_path_where_the_head_adds_to_a_probability() -> None:
    for space in ("squash", "clamp"):
        bias = tiny_network(lesion_prior=0.65, head_space=space).get_parameter("positive.output.bias")
        assert torch.allclose(torch.sigmoid(bias), torch.tensor(0.65))


def test_lesion_is_the_positive_path_or_the_mean_of_both_paths() -> None:
    image = example()
    for mutual in ("complementary", "consistent"):
        plain = tiny_network(mutual=mutual).eval()(image)
        mean = tiny_network(mutual=mutual, answer="mean").eval()(image)
        positive, negative = torch.sigmoid(plain.positive), torch.sigmoid(plain.negative)
        second = 1 - negative if mutual == "complementary" else negative
        assert torch.allclose(plain.lesion, positive)
        assert torch.allclose(mean.lesion, (positive + second) / 2)
        assert torch.allclose(plain.disagreement, (positive - second).abs(), atol=1e-6)


def test_opposite_logits_have_disagreement_0_and_equal_logits_1() -> None:
    logits = torch.tensor([[[[20.0, -20.0]]]])
    agree = Prediction(positive=logits, negative=-logits)
    contradict = Prediction(positive=logits, negative=logits)
    assert agree.disagreement is not None
    assert contradict.disagreement is not None
    assert float(agree.disagreement.max()) < 1e-6
    assert float(contradict.disagreement.min()) > 1 - 1e-6


def test_one_path_networks_have_no_second_opinion() -> None:
    for network in (tiny_network("unet"), tiny_network(**ONE_PATH), tiny_network("unet++")):
        prediction = network.eval()(example())
        assert prediction.negative is None
        assert prediction.second_opinion is None
        assert prediction.disagreement is None


# ----------------------------------------------------------------------------------------- shapes and sizes


def test_unet_plus_plus_returns_its_fourth_level() -> None:
    prediction = tiny_network("unet++").eval()(example())
    assert len(prediction.levels) == 4
    assert prediction.positive is prediction.levels[3]
    assert tiny_network("unet++", deep_supervision=False).eval()(example()).levels == ()


def test_coarse_level_of_unet_plus_plus_uses_only_the_first_two_encoder_levels() -> None:
    network = tiny_network("unet++").eval()
    image = example()
    before = network(image).levels
    with torch.no_grad():
        network.nodes["x2_0"][0].weight.add_(1)  # type: ignore[union-attr, index]
    after = network(image).levels
    assert torch.equal(before[0], after[0])
    assert not any(torch.equal(before[level], after[level]) for level in (1, 2, 3))


# ------------------------------------------------------------------------------------------------ gradients


def cancelled_by_batch_norm(network: nn.Module) -> set[str]:
    """Biases directly before a BatchNorm, which subtracts the batch mean, so these biases have no effect."""
    names = set()
    for path, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            children = list(module.named_children())
            for (name, layer), (_, following) in pairwise(children):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    names.add(f"{path}.{name}.bias")
    return names


def gradients(network: nn.Module, step: Any) -> dict[str, Tensor]:
    data = discs(4)
    batch = data.batch(torch.arange(4), halves(data))
    settings = ObjectiveSettings(auxiliary=AuxiliarySettings(levels=1))  # needed for all outputs of U-Net++
    objective(network.train()(batch.image), batch, step, settings).backward()
    gradient_of = {}
    for name, weight in network.named_parameters():
        assert weight.grad is not None, f"{name} is in no term of the loss"
        gradient_of[name] = weight.grad
    return gradient_of


@pytest.mark.parametrize("options", COMBINATIONS, ids=name_of)
def test_every_weight_has_a_gradient_in_the_hard_step_for_every_combination(
    options: dict[str, Any],
) -> None:
    network = tiny_network(seed=1, width=4, **options)
    cancelled = cancelled_by_batch_norm(network)
    gradient_of = gradients(network, "hard")
    assert cancelled < set(gradient_of)
    largest = max(float(gradient.abs().max()) for gradient in gradient_of.values())
    for name, gradient in gradient_of.items():
        assert torch.isfinite(gradient).all(), name
        if name in cancelled:  # zero up to rounding
            assert float(gradient.abs().max()) < 1e-5 * largest, name
        else:
            assert float(gradient.abs().max()) > 0, name


@pytest.mark.parametrize("model", ["unet", "unet++"])
@pytest.mark.parametrize("step", ["plain", "easy", "hard"])
def test_every_weight_of_one_path_networks_has_a_gradient(model: str, step: str) -> None:
    network = tiny_network(model, width=4)
    cancelled = cancelled_by_batch_norm(network)
    for name, gradient in gradients(network, step).items():
        assert torch.isfinite(gradient).all()
        assert name in cancelled or float(gradient.abs().max()) > 0, name


def test_bias_before_batch_norm_changes_no_output_in_training() -> None:
    """This is why the gradient test excludes these biases."""
    network = tiny_network().train()
    image = example()
    before = network(image).positive
    with torch.no_grad():
        for name in cancelled_by_batch_norm(network):
            network.get_parameter(name).add_(0.1)
    torch.testing.assert_close(network(image).positive, before, rtol=1e-3, atol=1e-3)


# -------------------------------------------------------------------------------------- names and options


@pytest.mark.parametrize(("typed", "suggestion"), [("unett", "unet"), ("taichi", "taichinet"), ("unet+", "unet++")])
def test_unknown_model_name_suggests_nearest_and_lists_all(typed: str, suggestion: str) -> None:
    with pytest.raises(SettingError) as caught:
        create_model(typed)
    assert f"Unknown model '{typed}'. Did you mean '{suggestion}'?" in str(caught.value)
    assert all(name in str(caught.value) for name in list_models())
    assert caught.value.exit_code == 4


def test_unknown_option_suggests_nearest() -> None:
    with pytest.raises(SettingError, match=r"'head_spaces'\. Did you mean 'head_space'\?"):
        create_model("taichinet", head_spaces="logit")


@pytest.mark.parametrize(
    ("option", "value"),
    [("width", 3), ("width", 0), ("in_channels", 0), ("num_classes", 0), ("head", "d"), ("head_space", "x")],
)
def test_value_outside_its_range_is_reported_with_its_option(option: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"'taichinet' cannot be built: {option} = {value!r}"):
        create_model("taichinet", **{option: value})


@pytest.mark.parametrize("two_path_option", [{"cross_attention": True}, {"head": "c"}, {"answer": "mean"}])
def test_one_path_with_a_two_path_option_is_rejected(two_path_option: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="second_path=false requires cross_attention=false"):
        create_model("taichinet", **{**ONE_PATH, **two_path_option})


# ------------------------------------------------------------------------------------- precision and files


def briefly_trained(model: str, **options: Any) -> nn.Module:
    """A network whose running statistics are no longer 0 and 1."""
    network = tiny_network(model, **options).train()
    for _ in range(3):
        network(example())
    return network.eval()


def test_float16_weights_are_half_as_large_and_nearly_equal(tmp_path: Path) -> None:
    network = briefly_trained("taichinet", width=8)
    config = WeightsConfig("taichinet", {"width": 8}, size=32)
    single = save_weights(network, config, tmp_path / "32") / "model.safetensors"
    half = save_weights(network, config, tmp_path / "16", torch.float16) / "model.safetensors"
    assert half.stat().st_size < 0.56 * single.stat().st_size
    loaded = load_weights(half.parent).network
    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())
    with torch.inference_mode():
        assert float((loaded(example()).lesion - network(example()).lesion).abs().max()) < 0.01


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_weights(tiny_network(), WeightsConfig("taichinet", {"width": 2}, size=32), tmp_path / "weights")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_missing_file_is_reported(saved: Path, missing: str) -> None:
    (saved / missing).unlink()
    with pytest.raises(WeightsError, match=f"No {missing} in"):
        load_weights(saved)


def test_missing_folder_raises_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"No config\.json"):
        load_weights(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_rejected(saved: Path, share: float) -> None:
    file = saved / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"is damaged or was replaced: .* Copy or train the weights again"):
        load_weights(saved)
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    (saved / "config.json").write_text(json.dumps({**config, "digest": None}), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"cannot be read .* Copy or train them again"):
        load_weights(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"model": "unet"}', '{"model_type": "bert"}'])
def test_damaged_or_foreign_configuration_is_rejected(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError):
        load_weights(saved)


@pytest.mark.parametrize(
    "content",
    [
        {"model": "taichinet", "options": None, "size": 32},
        {"model": "taichinet", "options": [1], "size": 32},
        {"model": None, "options": {}, "size": 32},
        {"model": "no-such-network", "options": {}, "size": 32},
        {"model": "taichinet", "options": {"widht": 2}, "size": 32},
    ],
    ids=str,
)
def test_configuration_without_valid_network_raises_user_error(saved: Path, content: dict[str, Any]) -> None:
    (saved / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TaiChiNetError):
        load_weights(saved)


@pytest.mark.parametrize("options", [{"width": 4}, {"width": 2, "head": "none"}, {"width": 2, "head": "a"}])
def test_weights_of_another_network_are_rejected_with_the_first_difference(
    saved: Path, options: dict[str, Any]
) -> None:
    content = {"model": "taichinet", "options": options, "size": 32}
    (saved / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"do not fit model 'taichinet'.*first '"):
        load_weights(saved)


def test_batch_is_moved_with_all_its_masks() -> None:
    data = discs(2)
    batch = data.batch(torch.arange(2), halves(data)).to(torch.device("cpu"), torch.channels_last)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    assert batch.easy is not None
    assert batch.hard is not None
    assert torch.equal(batch.easy + batch.hard, batch.lesion)
    assert torch.equal(batch.background, 1 - batch.lesion)
    without_regions = Batch(batch.image, batch.lesion).to(torch.device("cpu"), torch.contiguous_format)
    assert without_regions.easy is None
    assert without_regions.hard is None
