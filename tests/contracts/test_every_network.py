"""What holds for every network of the catalogue: sizes, learning, files, number formats, capture, export."""

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
from taichinet.models.weights import WeightsConfig, load_weights, save_weights

WITH_BACKBONE = [name for name, entry in CATALOGUE.items() if entry.has_pretrained]
SIZE = 64  # a multiple that every network takes
every_network = pytest.mark.parametrize("model", list_models())


def build(model: str, seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(model, **{**NARROW.get(model, {}), **options})


@cache
def untrained(model: str) -> nn.Module:
    """In evaluation, for tests that change nothing in it."""
    return build(model).eval()


def example(batch: int = 2, size: int = SIZE, channels: int = 1) -> Tensor:
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(7))


@cache
def settled(model: str) -> nn.Module:
    """In evaluation, with running statistics of real passes: with those of the start, activations grow to hundreds.

    For tests that change nothing in it.
    """
    network = build(model)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = None  # the plain mean over the passes below
    with torch.no_grad():
        for seed in (1, 2, 3):
            network.train()(torch.rand(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)))
    return network.eval()


def learnable(model: str, count: int, seed: int) -> Batch:
    """`count` discs; half as many, of half the size, for the networks that have no narrow form and need a minute."""
    count, size = (count, SIZE) if model in NARROW else (count // 2, SIZE // 2)
    return discs(count, size=size, seed=seed).batch(torch.arange(count))


def trained(model: str) -> tuple[nn.Module, list[float]]:
    """After twelve steps on discs, in evaluation, with the losses; random weights would only amplify rounding."""
    network = build(model).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = 0.5  # running statistics that keep up with twelve steps
    batch = learnable(model, 8, seed=0)
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
    """Discs, the inner region half of the outer one, with easy and hard halves."""
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
def test_parameters_and_operations_are_the_sources(model: str) -> None:
    source = CATALOGUE[model].source
    cost = measure_complexity(model, 224, in_channels=3, **dict(source.options))
    assert cost.parameters == source.parameters
    if source.gflops is not None:
        assert cost.gflops == pytest.approx(source.gflops - source.repeated_gflops, abs=0.011)


@every_network
def test_what_is_not_the_papers_own_network_is_said(model: str) -> None:
    entry = CATALOGUE[model]
    assert (entry.confidence == "high") or entry.note
    assert entry.title
    assert entry.paper


@pytest.mark.parametrize(("written", "meant"), [("U-Net", "unet"), ("UNet++", "unet++"), ("RFNet", "rf-net"), (3, "")])
def test_an_unknown_network_suggests_the_nearest(written: object, meant: str) -> None:
    with pytest.raises(SettingError, match=f"Unknown model '{written}'".replace("+", r"\+")) as caught:
        create_model(written)  # type: ignore[arg-type]
    assert (f"Did you mean '{meant}'?" in str(caught.value)) == bool(meant)


# ------------------------------------------------------------------------------------------- shapes and sizes


@every_network
@pytest.mark.parametrize(("channels", "classes", "scale"), [(1, 1, (2, 1)), (3, 2, (1, 3)), (2, 3, (2, 2))])
def test_outputs_have_the_inputs_size_and_a_channel_a_region(
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
def test_sizes_and_channels_that_do_not_fit_are_refused_with_the_way_out(model: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"(Resize or pad|another in_channels)") as caught:
        untrained(model)(torch.zeros(shape))
    assert all(str(side) in str(caught.value) for side in shape[-2:])


@every_network
def test_each_image_is_judged_by_itself_in_evaluation(model: str) -> None:
    network = settled(model)
    images = example(batch=3)
    others = torch.cat([images[:1], 1 - images[1:]])
    with torch.inference_mode():
        together = network(images).lesion
        in_other_company = network(others).lesion
        alone = network(images[:1]).lesion
    assert torch.equal(in_other_company[0], together[0])
    assert not torch.equal(in_other_company[1:], together[1:])
    # Another batch size is summed in another order, which an untrained network of many layers amplifies.
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-3)


# ---------------------------------------------------------------------------------------------------- learning


def cancelled_by_batch_norm(network: nn.Module) -> set[str]:
    """Biases right before a BatchNorm, which subtracts the mean over the batch: they decide nothing."""
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
def test_every_weight_learns_with_the_networks_own_terms_and_the_learning_strategy(model: str, step: Any) -> None:
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
def test_the_common_loss_reaches_every_weight_that_a_recipe_builds(model: str) -> None:
    recipe = get_recipe(f"cpu-{model}")
    network = build(model, **{**recipe.options, **NARROW.get(model, {})}).train()
    batch = nested_batch(regions=1)
    objective(network(batch.image), batch, "plain", recipe.objective).backward()
    forgotten = [name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]
    assert forgotten == []


@pytest.mark.parametrize("model", BASELINES)
def test_any_network_can_have_a_second_path_that_learns_the_background(model: str) -> None:
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
    forgotten = [name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]
    assert forgotten == []
    learned = {
        path: any(weight.grad is not None and float(weight.grad.abs().max()) > 0 for weight in part.parameters())
        for path, part in network.named_children()
    }
    assert learned == {"positive": True, "negative": True, "head": True}
    one = sum(weight.numel() for weight in build(model, num_classes=2).parameters())
    assert sum(weight.numel() for weight in network.get_submodule("positive").parameters()) == one


def test_the_background_of_an_inner_region_holds_that_of_the_outer_one() -> None:
    """DE-ResUnet nests its regions by construction; its twin must be able to nest them the other way."""
    network = build("de-resunet", num_classes=3, second_path={"head": "none"}).eval()
    with torch.no_grad():
        prediction = network(example())
    outer, *inner = torch.sigmoid(prediction.negative).unbind(dim=1)
    for region in inner:
        assert (region >= outer).all()
        outer = region
    assert (prediction.positive.diff(dim=1) <= 0).all()


def test_without_a_head_the_twin_adds_nothing_but_its_own_opinion() -> None:
    network = build("unet", second_path={"head": "none", "background_prior": 0.9, "answer": "mean"}).eval()
    image = example()
    prediction = network(image)
    twin = network.negative(image).positive  # type: ignore[operator]
    assert torch.equal(prediction.positive, network.positive(image).positive)  # type: ignore[operator]
    torch.testing.assert_close(prediction.negative, twin + float(np.log(9)))
    expected = (torch.sigmoid(prediction.positive) + torch.sigmoid(-prediction.negative)) / 2
    torch.testing.assert_close(prediction.lesion, expected)


def test_consistent_twins_both_see_the_lesion() -> None:
    network = build("unet", second_path={"head": "none", "mutual": "consistent"}).eval()
    prediction = network(example())
    assert prediction.negative_sees == "lesion"
    assert torch.equal(prediction.negative, network.negative(example()).positive)  # type: ignore[operator]


def test_a_wrong_setting_of_the_second_path_is_named() -> None:
    with pytest.raises(SettingError, match=r"second_path\.head = 'd'"):
        create_model("unet", second_path={"head": "d"})


# ------------------------------------------------------------------------------------------- seeds and files


@every_network
def test_the_same_seed_draws_the_same_weights(model: str) -> None:
    assert same_weights(build(model, seed=4), build(model, seed=4))
    assert not same_weights(build(model, seed=4), build(model, seed=5))


@every_network
def test_saved_weights_load_to_identical_outputs(model: str, tmp_path: Path) -> None:
    network = build(model).train()
    with torch.no_grad():
        network(example())  # running statistics that are no longer 0 and 1
    network.eval()
    config = WeightsConfig(model, NARROW.get(model, {}), size=SIZE, threshold=0.4, provenance={"fold": 1})
    folder = save_weights(network, config, tmp_path / "weights")
    loaded = load_weights(folder)
    assert loaded.config == config
    assert not loaded.network.training
    with torch.inference_mode():
        assert torch.equal(loaded.network(example()).positive, network(example()).positive)


@every_network
def test_the_least_size_is_computed_and_smaller_ones_are_refused_on_load(model: str, tmp_path: Path) -> None:
    options, least = NARROW.get(model, {}), CATALOGUE[model].size_multiple
    network = build(model).eval()
    with torch.inference_mode():
        assert torch.isfinite(network(torch.rand(1, 1, least, least)).lesion).all()
    save_weights(network, WeightsConfig(model, options, size=least), tmp_path)
    assert load_weights(tmp_path).config.size == least
    for size in (1, least // 2, least + 1):
        save_weights(network, WeightsConfig(model, options, size=size), tmp_path)
        with pytest.raises(WeightsError, match=f"'size' is {size}, but model '.*' requires a multiple of {least} px"):
            load_weights(tmp_path)
        with pytest.raises(SettingError):
            vary(get_recipe("busi-unet"), {"model": model, "options": options, "data.size": size})


def test_a_network_of_two_paths_can_be_saved_and_loaded(tmp_path: Path) -> None:
    options = {"width": 2, "second_path": {"head": "a"}}
    network = create_model("attention-unet", **options).eval()
    folder = save_weights(network, WeightsConfig("attention-unet", options, size=SIZE), tmp_path)
    loaded = load_weights(folder)
    assert loaded.channels == 1
    assert torch.equal(loaded.network(example()).negative, network(example()).negative)


# -------------------------------------------------------------------------- number formats, capture and export


@every_network
def test_a_network_learns_discs_in_twelve_steps_and_bf16_then_agrees_with_float32(model: str) -> None:
    network, losses = trained(model)
    assert losses[-1] < 0.9 * losses[0]
    image = learnable(model, 4, seed=1).image
    with torch.inference_mode():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(image)
    assert rounded.positive.dtype == torch.float32
    difference = (exact.lesion - rounded.lesion).abs()
    assert float(difference.mean()) < 0.02
    assert float((difference > 0.1).float().mean()) < 0.01


class Lesion(nn.Module):
    """The network as an exporter wants it: image in, probability out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        lesion: Tensor = self.network(image).lesion
        return lesion


@every_network
def test_the_network_is_captured_as_one_graph(model: str) -> None:
    network = Lesion(settled(model)).eval()
    image = example()
    torch.compiler.reset()  # graphs of the other networks share this file's code and would count against the limit
    compiled = torch.compile(network, backend="eager", fullgraph=True)  # the export below lowers the graph to ATen
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), network(image), rtol=1e-4, atol=1e-5)


@every_network
def test_the_exported_network_answers_the_same(model: str, tmp_path: Path) -> None:
    network = Lesion(settled(model)).eval()
    image = example(batch=1)
    path = tmp_path / "network.onnx"
    torch.onnx.export(network, (image,), path, dynamo=True, input_names=["image"], verbose=False, optimize=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(answer, network(image).numpy(), rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------- ImageNet weights


def backbone_file(model: str, folder: Path) -> Path:
    """A file as timm distributes it: the backbone with its classifier, random numbers for weights."""
    import timm

    name = getattr(model_settings(model), "backbone", "resnet34")
    torch.manual_seed(11)
    path = folder / f"{name}.pth"
    torch.save(timm.create_model(name, pretrained=False).state_dict(), path)
    return path


def resnet_weights(network: nn.Module) -> dict[str, Tensor]:
    """Convolutions of the third stage by their name within the stage."""
    return {
        name.split("stages.2.")[1]: value
        for name, value in network.state_dict().items()
        if "stages.2." in name and "conv" in name
    }


@pytest.mark.parametrize("model", WITH_BACKBONE)
def test_imagenet_weights_come_from_a_local_file(model: str, tmp_path: Path) -> None:
    path = backbone_file(model, tmp_path)
    network = build(model, pretrained=str(path))
    given = {
        name.removeprefix("layer3."): value
        for name, value in torch.load(path, weights_only=True).items()
        if name.startswith("layer3.") and "conv" in name
    }
    loaded = resnet_weights(network)
    assert loaded.keys() == given.keys()
    assert all(torch.equal(loaded[name], given[name]) for name in given)
    options = {"pretrained": str(path), "num_classes": 1}
    assert architecture(options) == {"num_classes": 1}
    assert len(pretrained_digests(options)["pretrained"]) == 64


def test_a_deeper_resnets_weights_are_refused_although_they_hold_every_tensor(tmp_path: Path) -> None:
    import timm

    path = tmp_path / "deeper.pth"
    torch.save(timm.create_model("resnet101", pretrained=False).state_dict(), path)
    with pytest.raises(WeightsError, match=r"not those of resnet50, but of a larger network.*layer3\.6"):
        create_model("deeplabv3+", pretrained=str(path))
    create_model("deeplabv3+", pretrained=str(path), backbone="resnet101")


def test_a_wrapped_file_is_unwrapped_and_one_that_is_not_finite_is_refused(tmp_path: Path) -> None:
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
def test_missing_torn_and_foreign_imagenet_weights_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no file .*missing\.pth.*nothing is downloaded"):
        create_model(model, pretrained=str(tmp_path / "missing.pth"))
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"torn\.safetensors cannot be read"):
        create_model(model, pretrained=str(torn))
    foreign = tmp_path / "foreign.pth"
    torch.save({"conv1.weight": torch.zeros(3, 3)}, foreign)
    with pytest.raises(WeightsError, match=r"foreign\.pth are not those of resnet"):
        create_model(model, pretrained=str(foreign))


def test_weights_that_hold_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save({"conv1.weight": Path("x")}, path)  # any object but tensors and plain values
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
