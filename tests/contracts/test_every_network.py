"""Requirements for every network of the catalogue: sizes, learning, files, number formats, capture, export."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import NARROW, discs, halves, same_weights
from torch import Tensor, nn

from taichinet.batch import Batch, Prediction
from taichinet.errors import SettingError, WeightsError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.baselines import BASELINES, OWN_TERMS
from taichinet.experiments.recipes.catalogue import get_recipe, list_recipes
from taichinet.losses.auxiliary import AuxiliarySettings
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.backbones import architecture, pretrained_digests
from taichinet.models.catalogue import CATALOGUE, create_model, list_models, model_settings
from taichinet.models.complexity import measure_complexity
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig

# Encoders from timm have tests of their own (tests/models/test_timm.py).
WITH_BACKBONE = [name for name, entry in CATALOGUE.items() if entry.has_pretrained and not name.endswith("-timm")]
SIZE = 64  # a multiple accepted by every network
every_network = pytest.mark.parametrize("model", list_models())


def build(model: str, seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(model, **{**NARROW.get(model, {}), **options})


@cache
def untrained(model: str) -> nn.Module:
    """In evaluation mode, for tests that do not modify it."""
    return build(model).eval()


def example(batch: int = 2, size: int = SIZE, channels: int = 1) -> Tensor:
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(7))


@cache
def with_running_statistics(model: str) -> nn.Module:
    """In evaluation mode, with statistics of forward passes; with initial ones, activations grow to hundreds.

    For tests that do not modify it.
    """
    network = build(model)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = None  # the plain mean over the passes below
    with torch.no_grad():
        for seed in (1, 2, 3):
            network.train()(torch.rand(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)))
    return network.eval()


def disc_batch(model: str, count: int, seed: int) -> Batch:
    """`count` discs; half as many, of half the size, for slow networks without narrow options."""
    count, size = (count, SIZE) if model in NARROW else (count // 2, SIZE // 2)
    return discs(count, size=size, seed=seed).batch(torch.arange(count))


def trained(model: str) -> tuple[nn.Module, list[float]]:
    """The network after twelve steps on discs, in evaluation mode, and its losses; random weights amplify rounding."""
    network = build(model).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = 0.5  # running statistics that converge in twelve steps
    batch = disc_batch(model, 8, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = objective(network(batch.image), batch, "plain", ObjectiveSettings())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return network.eval(), losses


def nested_batch(regions: int = 2, count: int = 3, channels: int = 1) -> Batch:
    """Discs with easy and hard halves; the inner region is half of the outer one."""
    data = discs(count, size=SIZE, channels=channels)
    batch = data.batch(torch.arange(count), halves(data))
    assert batch.easy is not None
    assert batch.hard is not None
    if regions == 1:
        return batch
    inner = batch.lesion.clone()
    inner[..., : SIZE // 2] = 0
    nested = torch.cat([batch.lesion, inner], dim=1)
    return Batch(batch.image, nested, nested * batch.easy, nested * batch.hard)


def own_terms(model: str) -> ObjectiveSettings:
    return ObjectiveSettings(auxiliary=AuxiliarySettings.model_validate(OWN_TERMS.get(model, {})))


# ---------------------------------------------------------------------------------------------- size and cost


@every_network
def test_parameters_and_operations_match_the_source(model: str) -> None:
    source = CATALOGUE[model].source
    assert source is not None
    cost = measure_complexity(model, 224, in_channels=3, **dict(source.options))
    assert cost.parameters == source.parameters
    if source.gflops is not None:
        assert cost.gflops == pytest.approx(source.gflops - source.repeated_gflops, abs=0.011)


@every_network
def test_entry_without_high_confidence_has_a_note(model: str) -> None:
    entry = CATALOGUE[model]
    assert (entry.confidence == "high") or entry.note
    assert entry.title
    assert entry.paper


@pytest.mark.parametrize(
    ("name", "suggestion"), [("U-Net", "unet"), ("UNet++", "unet++"), ("RFNet", "rf-net"), (3, "")]
)
def test_unknown_model_name_suggests_nearest(name: object, suggestion: str) -> None:
    with pytest.raises(SettingError, match=f"Unknown model '{name}'".replace("+", r"\+")) as caught:
        create_model(name)  # type: ignore[arg-type]
    assert (f"Did you mean '{suggestion}'?" in str(caught.value)) == bool(suggestion)


# ------------------------------------------------------------------------------------------- shapes and sizes


@every_network
@pytest.mark.parametrize(("channels", "classes", "scale"), [(1, 1, (2, 1)), (3, 2, (1, 3)), (2, 3, (2, 2))])
def test_outputs_have_input_size_and_one_channel_per_region(
    model: str, channels: int, classes: int, scale: tuple[int, int]
) -> None:
    network = build(model, in_channels=channels, num_classes=classes).eval()
    size = (CATALOGUE[model].size_multiple * scale[0], CATALOGUE[model].size_multiple * scale[1])
    with torch.inference_mode():
        prediction = network(torch.rand(2, channels, *size))
    assert isinstance(prediction, Prediction)
    assert prediction.lesion.shape == (2, classes, *size)
    for logits in (prediction.positive, prediction.negative, *prediction.levels):
        assert logits is None or (logits.shape == (2, classes, *size) and logits.dtype == torch.float32)


@every_network
@pytest.mark.parametrize(
    "shape", [(1, 1, 33, 32), (1, 1, 32, 40), (1, 1, 8, 8), (1, 1, 0, 32), (1, 5, 32, 32), (1, 32, 32)]
)
def test_invalid_sizes_and_channels_are_rejected_with_remedy(model: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"(Resize or pad|another in_channels)") as caught:
        untrained(model)(torch.zeros(shape))
    assert all(str(side) in str(caught.value) for side in shape[-2:])


@every_network
def test_evaluation_does_not_depend_on_the_other_images_of_a_batch(model: str) -> None:
    network = with_running_statistics(model)
    images = example(batch=3)
    others = torch.cat([images[:1], 1 - images[1:]])
    with torch.inference_mode():
        in_batch = network(images).lesion
        in_other_batch = network(others).lesion
        alone = network(images[:1]).lesion
    assert torch.equal(in_other_batch[0], in_batch[0])
    assert not torch.equal(in_other_batch[1:], in_batch[1:])
    # Another batch size is summed in another order, which an untrained network of many layers amplifies.
    torch.testing.assert_close(alone[0], in_batch[0], rtol=0, atol=1e-3)


# ---------------------------------------------------------------------------------------------------- learning


def cancelled_by_batch_norm(network: nn.Module) -> set[str]:
    """Biases right before a BatchNorm, which cancels them by subtracting the mean over the batch."""
    names = set()
    for path, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            for (name, layer), (_, following) in pairwise(list(module.named_children())):
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and isinstance(
                    following, nn.BatchNorm2d | nn.BatchNorm1d
                ):
                    names.add(f"{path}.{name}.bias")
    return names


@every_network
@pytest.mark.parametrize("step", ["plain", "hard"])
def test_every_weight_gets_a_gradient_from_own_loss_terms(model: str, step: Any) -> None:
    network = build(model, num_classes=2).train()
    batch = nested_batch()
    loss = objective(network(batch.image), batch, step, own_terms(model))
    assert torch.isfinite(loss)
    loss.backward()
    cancelled = cancelled_by_batch_norm(network)
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        assert weight.grad is not None, f"{name} is in no term of the loss"
        assert torch.isfinite(weight.grad).all(), name
        assert name in cancelled or float(weight.grad.abs().max()) > 0, f"{name} does not learn"


@every_network
def test_every_weight_of_a_recipe_gets_a_gradient_from_the_common_loss(model: str) -> None:
    recipe = get_recipe(f"cpu-{model}")
    network = build(model, **{**recipe.options, **NARROW.get(model, {})}).train()
    batch = nested_batch(regions=1)
    objective(network(batch.image), batch, "plain", recipe.objective).backward()
    without_gradient = [
        name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None
    ]
    assert without_gradient == []


@pytest.mark.parametrize("model", BASELINES)
def test_second_path_of_any_network_learns_the_background(model: str) -> None:
    network = build(model, num_classes=2, second_path={"head": "c", "background_prior": 0.8}).train()
    batch = nested_batch()
    prediction = network(batch.image)
    assert prediction.negative is not None
    assert prediction.negative.shape == prediction.positive.shape
    assert prediction.negative_sees == "background"
    if prediction.levels:
        assert prediction.levels[-1] is prediction.positive
    objective(prediction, batch, "hard", own_terms(model)).backward()
    assert prediction.negative.isfinite().all()
    without_gradient = [
        name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None
    ]
    assert without_gradient == []
    learned = {
        path: any(weight.grad is not None and float(weight.grad.abs().max()) > 0 for weight in part.parameters())
        for path, part in network.named_children()
    }
    assert learned == {"positive": True, "negative": True, "head": True}
    parameters = sum(weight.numel() for weight in build(model, num_classes=2).parameters())
    assert sum(weight.numel() for weight in network.get_submodule("positive").parameters()) == parameters


def test_background_of_inner_region_contains_that_of_outer_region() -> None:
    """DE-ResUnet nests its regions by construction; its second path must nest them the other way round."""
    network = build("de-resunet", num_classes=3, second_path={"head": "none"}).eval()
    with torch.no_grad():
        prediction = network(example())
    outer, *inner = torch.sigmoid(prediction.negative).unbind(dim=1)
    for region in inner:
        assert (region >= outer).all()
        outer = region
    assert (prediction.positive.diff(dim=1) <= 0).all()


def test_prediction_without_head_is_the_mean_of_both_paths() -> None:
    network = build("unet", second_path={"head": "none", "background_prior": 0.9, "answer": "mean"}).eval()
    image = example()
    prediction = network(image)
    background = network.negative(image).positive  # type: ignore[operator]
    assert torch.equal(prediction.positive, network.positive(image).positive)  # type: ignore[operator]
    torch.testing.assert_close(prediction.negative, background + float(np.log(9)))
    expected = (torch.sigmoid(prediction.positive) + torch.sigmoid(-prediction.negative)) / 2
    torch.testing.assert_close(prediction.lesion, expected)


def test_both_paths_predict_the_lesion_in_consistent_mode() -> None:
    network = build("unet", second_path={"head": "none", "mutual": "consistent"}).eval()
    prediction = network(example())
    assert prediction.negative_sees == "lesion"
    assert torch.equal(prediction.negative, network.negative(example()).positive)  # type: ignore[operator]


def test_error_names_invalid_setting_of_second_path() -> None:
    with pytest.raises(SettingError, match=r"second_path\.head = 'd'"):
        create_model("unet", second_path={"head": "d"})


# ------------------------------------------------------------------------------------------- seeds and files


@every_network
def test_identical_seed_gives_identical_weights(model: str) -> None:
    assert same_weights(build(model, seed=4), build(model, seed=4))
    assert not same_weights(build(model, seed=4), build(model, seed=5))


@every_network
def test_saved_weights_give_identical_outputs_after_loading(model: str, tmp_path: Path) -> None:
    network = build(model).train()
    with torch.no_grad():
        network(example())  # running statistics other than 0 and 1
    network.eval()
    config = WeightsConfig(model, NARROW.get(model, {}), size=SIZE, threshold=0.4, provenance={"fold": 1})
    folder = save_weights(network, config, tmp_path / "weights")
    loaded = load_weights(folder)
    assert loaded.config == config
    assert not loaded.network.training
    with torch.inference_mode():
        assert torch.equal(loaded.network(example()).positive, network(example()).positive)


@every_network
def test_minimum_size_works_and_other_sizes_are_rejected_on_load(model: str, tmp_path: Path) -> None:
    options, minimum = NARROW.get(model, {}), CATALOGUE[model].size_multiple
    network = build(model).eval()
    with torch.inference_mode():
        assert torch.isfinite(network(torch.rand(1, 1, minimum, minimum)).lesion).all()
    save_weights(network, WeightsConfig(model, options, size=minimum), tmp_path)
    assert load_weights(tmp_path).config.size == minimum
    for size in (1, minimum // 2, minimum + 1):
        save_weights(network, WeightsConfig(model, options, size=size), tmp_path)
        with pytest.raises(WeightsError, match=f"'size' is {size}, but model '.*' requires a multiple of {minimum} px"):
            load_weights(tmp_path)
        with pytest.raises(SettingError):
            vary(get_recipe("busi-unet"), {"model": model, "options": options, "data.size": size})


def test_network_with_second_path_can_be_saved_and_loaded(tmp_path: Path) -> None:
    options = {"width": 2, "second_path": {"head": "a"}}
    network = create_model("attention-unet", **options).eval()
    folder = save_weights(network, WeightsConfig("attention-unet", options, size=SIZE), tmp_path)
    loaded = load_weights(folder)
    assert loaded.channels == 1
    assert torch.equal(loaded.network(example()).negative, network(example()).negative)


# -------------------------------------------------------------------------- number formats, capture and export


@every_network
def test_network_learns_discs_and_bf16_agrees_with_float32(model: str) -> None:
    network, losses = trained(model)
    assert losses[-1] < 0.9 * losses[0]
    image = disc_batch(model, 4, seed=1).image
    with torch.inference_mode():
        float32 = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            bf16 = network(image)
    assert bf16.positive.dtype == torch.float32
    difference = (float32.lesion - bf16.lesion).abs()
    assert float(difference.mean()) < 0.02
    assert float((difference > 0.1).float().mean()) < 0.01


class Lesion(nn.Module):
    """The network for export: from an image to the lesion probability."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        lesion: Tensor = self.network(image).lesion
        return lesion


@every_network
def test_network_is_captured_as_one_graph_and_exported(model: str, tmp_path: Path) -> None:
    network = Lesion(with_running_statistics(model)).eval()
    image = example(batch=1)
    torch.compiler.reset()  # graphs of the other networks would count against the recompilation limit
    captured = torch.export.export(network, (image,), strict=True)  # fails where torch.compile needs a second graph
    path = tmp_path / "network.onnx"
    torch.onnx.export(captured, (), path, dynamo=True, input_names=["image"], verbose=False, optimize=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = network(image)
        torch.testing.assert_close(captured.module()(image), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output, expected.numpy(), rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------- ImageNet weights


def backbone_file(model: str, folder: Path) -> Path:
    """Write a file like those of timm: the backbone with its classifier, with random weights."""
    import timm

    name = getattr(model_settings(model), "backbone", "resnet34")
    torch.manual_seed(11)
    path = folder / f"{name}.pth"
    torch.save(timm.create_model(name, pretrained=False).state_dict(), path)
    return path


def resnet_weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights of the convolutions of the third stage, by their name within the stage."""
    return {
        name.split("stages.2.")[1]: value
        for name, value in network.state_dict().items()
        if "stages.2." in name and "conv" in name
    }


@pytest.mark.parametrize("model", WITH_BACKBONE)
def test_imagenet_weights_are_loaded_from_a_local_file(model: str, tmp_path: Path) -> None:
    path = backbone_file(model, tmp_path)
    network = build(model, pretrained=str(path))
    expected = {
        name.removeprefix("layer3."): value
        for name, value in torch.load(path, weights_only=True).items()
        if name.startswith("layer3.") and "conv" in name
    }
    loaded = resnet_weights(network)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    options = {"pretrained": str(path), "num_classes": 1}
    assert architecture(options) == {"num_classes": 1}
    assert len(pretrained_digests(options)["pretrained"]) == 64


def test_weights_of_a_deeper_resnet_are_rejected(tmp_path: Path) -> None:
    import timm

    path = tmp_path / "deeper.pth"
    torch.save(timm.create_model("resnet101", pretrained=False).state_dict(), path)
    with pytest.raises(WeightsError, match=r"not those of resnet50, but of a larger network.*layer3\.6"):
        create_model("deeplabv3+", pretrained=str(path))
    create_model("deeplabv3+", pretrained=str(path), backbone="resnet101")


def test_nested_state_dict_is_loaded_and_non_finite_weights_are_rejected(tmp_path: Path) -> None:
    import timm

    state = timm.create_model("resnet34", pretrained=False).state_dict()
    torch.save({"model": state, "epoch": 3}, tmp_path / "wrapped.pth")
    create_model("ce-net", pretrained=str(tmp_path / "wrapped.pth"))
    torch.save({**state, "conv1.weight": state["conv1.weight"] * float("nan")}, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"not finite, first in 'conv1\.weight'"):
        create_model("ce-net", pretrained=str(tmp_path / "nan.pth"))
    with pytest.raises(SettingError, match="a folder, no file"):
        create_model("ce-net", pretrained=str(tmp_path))


@pytest.mark.parametrize("model", WITH_BACKBONE)
def test_missing_damaged_and_unrelated_imagenet_weights_are_rejected(model: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no file .*missing\.pth.*nothing is downloaded"):
        create_model(model, pretrained=str(tmp_path / "missing.pth"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"damaged\.safetensors cannot be read"):
        create_model(model, pretrained=str(damaged))
    unrelated = tmp_path / "unrelated.pth"
    torch.save({"conv1.weight": torch.zeros(3, 3)}, unrelated)
    with pytest.raises(WeightsError, match=r"unrelated\.pth are not those of resnet"):
        create_model(model, pretrained=str(unrelated))


def test_weights_containing_code_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save({"conv1.weight": Path("x")}, path)  # an object other than tensors and plain values
    with pytest.raises(WeightsError, match="cannot be read"):
        create_model("ce-net", pretrained=str(path))


# ----------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize("name", [name for name in list_recipes() if name.startswith("cpu-")])
def test_every_recipe_can_take_a_training_step(name: str) -> None:
    recipe = get_recipe(name)
    network = build(recipe.model, **{**recipe.options, **NARROW.get(recipe.model, {})}).train()
    batch = nested_batch(regions=1, count=2)
    step = recipe.training.step(epoch=recipe.training.epochs - 1)
    before = [weight.detach().clone() for weight in network.parameters()]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss = objective(network(batch.image), batch, step, recipe.objective)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
