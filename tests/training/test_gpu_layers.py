"""Faster layers and steps on a GPU. Without one, Triton's interpreter runs the kernels; CUDA graphs are not tested."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import discs, halves, tiny_network, tiny_settings
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.blocks import DoubleConv, UpConv
from taichinet.models.efficientnet_lite import InvertedResidual
from taichinet.training.device import DeviceConfig, choose_device_config
from taichinet.training.fit import TrainingData, epoch_batches
from taichinet.training.gpu.use import step_graphs, training_layers
from taichinet.training.loop import TrainingStep, train_epoch
from taichinet.training.optimizer import make_optimizer, set_learning_rate
from taichinet.training.settings import TrainingSettings

batch_norm = pytest.importorskip("taichinet.training.gpu.batch_norm", exc_type=ModuleNotFoundError)  # Triton
HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")
gpu_layers = pytest.importorskip("taichinet.training.gpu.layers").gpu_layers
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def exact_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def features(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(0)
    return (2 * torch.randn(shape) + 5).to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


def norm_of(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias, 0, 0.5)
    return norm.to(DEVICE)


@pytest.mark.parametrize("limit", [math.inf, 1.5, 0.0])
@pytest.mark.parametrize("shape", [(2, 32, 24, 20), (3, 5, 7, 9), (2, 96, 16, 16), (4, 16, 1, 1), (3, 1, 5, 4)])
@pytest.mark.parametrize("parts", [396, 3])
def test_batch_norm_agrees_with_pytorch(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], limit: float, parts: int
) -> None:
    monkeypatch.setattr(batch_norm, "_PARTS", parts)
    norm, conv_bias = norm_of(shape[1]), torch.randn(shape[1], device=DEVICE)
    reference = copy.deepcopy(norm)
    ours, theirs = features(shape).requires_grad_(), features(shape).requires_grad_()
    gradient = torch.randn(shape, device=DEVICE)

    output = batch_norm.batch_norm(ours, norm, limit, conv_bias)
    output.backward(gradient)
    expected = reference(theirs + conv_bias.view(1, -1, 1, 1))
    expected = expected.clamp(0, limit) if limit else expected
    expected.backward(gradient)

    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(norm.weight.grad, reference.weight.grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(norm.bias.grad, reference.bias.grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(norm.state_dict(), reference.state_dict(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(2, 32, 12, 10), (1, 5, 3, 7), (2, 96, 4, 4)])
@pytest.mark.parametrize("of_a_concatenation", [True, False])
def test_upsampling_agrees_with_pytorch(shape: tuple[int, ...], of_a_concatenation: bool) -> None:
    upsampling = pytest.importorskip("taichinet.training.gpu.upsampling")
    ours, theirs = features(shape).requires_grad_(), features(shape).requires_grad_()
    output = upsampling.enlarged(ours)
    expected = F.interpolate(theirs, scale_factor=2, mode="nearest")
    assert torch.equal(output, expected)
    gradient = features((shape[0], shape[1] + 7, 2 * shape[2], 2 * shape[3]))[:, 7:]
    assert upsampling.rows_of(gradient) == (gradient, shape[1] + 7)
    gradient = gradient if of_a_concatenation else gradient.contiguous()
    output.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_batch_norm_accepts_the_gradient_of_a_concatenation() -> None:
    norm, values = norm_of(8), features((2, 8, 6, 5))
    gradient = features((2, 12, 6, 5))[:, 4:]
    results = []
    for given in (gradient, gradient.contiguous()):
        image = values.clone().requires_grad_()
        batch_norm.batch_norm(image, norm, math.inf).backward(given)
        results.append(image.grad)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(DoubleConv(1, 8), UpConv(8, 16), nn.Conv2d(16, 1, 3, padding=1)).to(DEVICE)


def inverted_residual() -> nn.Module:
    torch.manual_seed(0)
    network = InvertedResidual(8, 8, kernel=3, stride=1, expansion=2).to(DEVICE)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.constant_(norm.bias, 5)  # many values above 6
    return network


def replaced(network: nn.Module) -> list[tuple[nn.Module, Any]]:
    return [(module, vars(module)["forward"]) for module in network.modules() if "forward" in vars(module)]


@pytest.mark.parametrize("make", [small_network, inverted_residual])
def test_layers_have_the_same_output_and_gradients(make: Callable[[], nn.Module]) -> None:
    ours, theirs = make(), make()
    image = features((2, 1 if make is small_network else 8, 16, 16))
    expected = theirs(image)
    expected.square().mean().backward()
    with gpu_layers(ours):
        assert make is small_network or [type(layer) for layer, _ in replaced(ours)].count(nn.ReLU6) == 2
        output = ours(image)
        output.square().mean().backward()
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), atol=1e-4, rtol=1e-4)
    for (name, own), reference in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if own.grad is None:  # the bias of a convolution before a BatchNorm
            assert name.endswith("bias")
            assert reference.grad is not None
            assert float(reference.grad.abs().max()) < 1e-5
        else:
            torch.testing.assert_close(own.grad, reference.grad, atol=1e-4, rtol=1e-3)


def test_layers_are_restored_after_an_error() -> None:
    network = small_network()
    image = features((2, 1, 16, 16))
    before = network(image)
    with pytest.raises(ValueError, match="stop"), gpu_layers(network):
        raise ValueError("stop")
    assert not any("forward" in vars(module) for module in network.modules())
    assert torch.equal(network(image), before)


def test_a_layer_with_several_places_is_not_fused() -> None:
    relu = nn.ReLU()
    blocks = (nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), relu) for _ in range(2))
    ours = nn.ModuleDict({"one": next(blocks), "two": next(blocks), "alone": relu}).to(DEVICE)
    values = features((2, 8, 4, 4))
    expected = ours["two"](values)
    with gpu_layers(ours):
        torch.testing.assert_close(ours["two"](values), expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(ours["alone"](-values), F.relu(-values))


def test_frozen_and_cumulative_norms_are_unchanged() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, momentum=None))
    network.to(DEVICE)[1].eval()
    with gpu_layers(network):
        assert not any("forward" in vars(module) for module in network)


class Halved(nn.Conv2d):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) / 2


class Reversed(nn.Sequential):
    def forward(self, features: Tensor) -> Tensor:
        for layer in reversed(list(self)):
            features = layer(features)
        return features


@pytest.mark.parametrize(
    "network",
    [nn.Sequential(Halved(8, 4, 1)), Reversed(nn.BatchNorm2d(8), nn.ReLU())],
    ids=["convolution", "sequence"],
)
def test_classes_with_another_forward_function_keep_it(network: nn.Module) -> None:
    network, values = network.to(DEVICE), features((2, 8, 4, 4))
    expected = network(values)
    with gpu_layers(network):
        torch.testing.assert_close(network(values), expected, atol=1e-4, rtol=1e-4)


def test_a_cpu_trains_with_its_own_layers_and_steps() -> None:
    network = small_network().cpu()
    cpu = DeviceConfig(torch.device("cpu"), bf16=False, memory_format=torch.channels_last)
    with training_layers(network, cpu):
        assert not any("forward" in vars(module) for module in network.modules())
    assert step_graphs(cpu, accumulate=1) is None


def test_the_state_of_adam_moves_from_a_gpu_to_a_cpu() -> None:
    network, other = small_network().cpu(), small_network().cpu()
    optimizer = make_optimizer(network, TrainingSettings(learning_rate=1e-3), torch.device("cpu"))
    network(torch.rand(2, 1, 16, 16)).mean().backward()
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0] |= {"lr": torch.tensor(1e-3), "fused": True, "capturable": True}  # as on a GPU
    other.load_state_dict(network.state_dict())
    resumed = make_optimizer(other, TrainingSettings(learning_rate=5e-4), torch.device("cpu"), state)
    assert resumed.param_groups[0]["lr"] == 5e-4
    for chosen, weights in ((optimizer, network), (resumed, other)):
        set_learning_rate(chosen, 1e-2)
        chosen.zero_grad()
        weights(torch.ones(2, 1, 16, 16)).square().mean().backward()
        chosen.step()
    torch.testing.assert_close(other.state_dict(), network.state_dict(), rtol=0, atol=0)


def losses_of_steps(graphs: Any) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of three epochs, with batches of two sizes, and the weights."""
    device_config = DeviceConfig(DEVICE, False, torch.channels_last)
    train = discs(8, size=64)
    data = TrainingData(train, train, halves(train), AugmentationSettings()).to(DEVICE)
    torch.manual_seed(0)
    network = device_config.place(tiny_network())
    optimizer = make_optimizer(network, TrainingSettings(learning_rate=1e-3), DEVICE)
    losses: list[Tensor] = []

    def replay(batch: Batch, step: Any) -> Tensor:
        losses.append(step(batch) if graphs is None else graphs.run("hard", batch, step))
        return losses[-1]

    step = TrainingStep(
        network,
        lambda prediction, batch: objective(prediction, batch, "hard", ObjectiveSettings()),
        optimizer,
        device_config,
    )
    for epoch in range(3):
        set_learning_rate(optimizer, 1e-3 / (epoch + 1))
        train_epoch(step, epoch_batches(data, tiny_settings(batch_size=3), epoch), replay)
    return torch.stack(losses).tolist(), network.state_dict()


@needs_gpu
def test_captured_steps_train_as_steps_do() -> None:
    graphs = step_graphs(choose_device_config(), accumulate=1)
    assert graphs is not None
    losses, weights = losses_of_steps(graphs)
    expected, expected_weights = losses_of_steps(None)
    assert len(graphs._captured) == 2  # batches of 3 and of 2 images
    assert losses == pytest.approx(expected, rel=2e-3)
    assert int(weights["positive.encoder.0.1.num_batches_tracked"]) == 9
    for name, value in weights.items():
        torch.testing.assert_close(value, expected_weights[name], atol=5e-3, rtol=5e-3, msg=name)


@needs_gpu
def test_a_step_that_cannot_be_captured_still_trains() -> None:
    graphs = step_graphs(choose_device_config(), accumulate=1)
    assert graphs is not None
    batch = Batch(*(torch.rand(2, 1, 8, 8, device=DEVICE) for _ in range(2)))
    with pytest.warns(UserWarning, match="cannot be captured"):
        values = [graphs.run("waits", batch, lambda own: own.image.sum() * own.image.sum().item()) for _ in range(5)]
    assert all(torch.equal(value, values[0]) for value in values)
