"""Warm-up, AdamW, SGD, the learning rate of an encoder, and the moving average of the weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import FLOAT32_CPU, discs, halves, tiny_network, tiny_settings
from torch import nn

from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.errors import SettingError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.losses.objective import ObjectiveSettings
from taichinet.training.average import WeightAverage
from taichinet.training.checkpoint import CheckpointFolder, load_checkpoint
from taichinet.training.fit import FitResult, TrainingData, fit
from taichinet.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from taichinet.training.settings import TrainingSettings

CPU = torch.device("cpu")


class Encoded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.decoder = nn.Conv2d(2, 1, 3)


def test_learning_rate_increases_in_the_warm_up_and_then_follows_the_schedule() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup_epochs=3, epochs=9, schedule="cosine")
    rates = [learning_rate(settings, epoch) for epoch in range(9)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)
    constant = settings.model_copy(update={"schedule": "constant"})
    assert [learning_rate(constant, epoch) for epoch in (2, 3, 8)] == pytest.approx([0.75, 1, 1])


def test_encoder_has_its_own_learning_rate_and_norms_and_biases_no_decay() -> None:
    settings = TrainingSettings(learning_rate=0.1, optimizer="adamw", weight_decay=0.5, encoder_rate=0.3)
    network = Encoded()
    optimizer = make_optimizer(network, settings, CPU)
    set_learning_rate(optimizer, 0.2)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    encoder, norm = network.encoder
    assert found[id(encoder.weight)] == pytest.approx((0.06, 0.5))
    assert found[id(norm.weight)] == found[id(encoder.bias)] == pytest.approx((0.06, 0.0))
    assert found[id(network.decoder.weight)] == pytest.approx((0.2, 0.5))


def test_default_is_adam_with_one_group() -> None:
    optimizer = make_optimizer(Encoded(), TrainingSettings(), CPU)
    assert type(optimizer) is torch.optim.Adam
    assert len(optimizer.param_groups) == 1
    earlier = torch.optim.Adam(Encoded().parameters(), lr=1e-4).state_dict()  # a checkpoint without factors
    assert make_optimizer(Encoded(), TrainingSettings(), CPU, earlier).param_groups[0]["factor"] == 1


def test_weight_decay_of_adam_is_refused() -> None:
    with pytest.raises(SettingError, match=r"weight_decay 0\.01 is not used by adam: set optimizer to adamw"):
        vary(get_recipe("short-unet"), {"training.weight_decay": 0.01})


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_has_momentum_and_weight_decay_and_continues_from_its_state(nesterov: bool) -> None:
    settings = TrainingSettings(
        learning_rate=0.1, optimizer="sgd", momentum=0.5, nesterov=nesterov, weight_decay=0.2, encoder_rate=0.5
    )
    network, reference = Encoded(), Encoded()
    reference.load_state_dict(network.state_dict())
    expected = torch.optim.SGD([reference.decoder.weight], lr=0.1, momentum=0.5, nesterov=nesterov, weight_decay=0.2)
    optimizer = make_optimizer(network, settings, CPU)
    for step in range(4):
        if step == 2:
            optimizer = make_optimizer(network, settings, CPU, copy.deepcopy(optimizer.state_dict()))
        for module, its_optimizer in ((network, optimizer), (reference, expected)):
            its_optimizer.zero_grad()
            module.decoder(torch.ones(1, 2, 3, 3) * (step + 1)).sum().backward()
            its_optimizer.step()
    assert torch.equal(network.decoder.weight, reference.decoder.weight)
    assert network.decoder.bias is not None
    assert reference.decoder.bias is not None
    assert not torch.equal(network.decoder.bias, reference.decoder.bias)  # which is not trained there


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"momentum": 0.5}, r"momentum 0\.5 is not used by adam: set optimizer to sgd"),
        ({"optimizer": "adamw", "nesterov": True}, "nesterov is not used by adamw"),
        ({"optimizer": "sgd", "momentum": 0, "nesterov": True}, "nesterov needs a momentum above 0"),
    ],
)
def test_options_of_another_optimizer_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        vary(get_recipe("short-unet"), {f"training.{key}": value for key, value in changes.items()})


def test_average_moves_towards_the_weights() -> None:
    network = Encoded()
    average = WeightAverage(network, 0.75)
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(4)
    average.update()
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, before[name] + (1 if value.is_floating_point() else 4))


def train(folder: Path, epochs: int, resume: bool = False, **changes: Any) -> tuple[FitResult, nn.Module]:
    settings = tiny_settings(epochs=epochs, **changes)
    data = TrainingData(discs(6), discs(3), halves(discs(6)), AugmentationSettings())
    torch.manual_seed(0)
    network = tiny_network()
    checkpoints = CheckpointFolder(folder, "identity", resume)
    return fit(network, data, ObjectiveSettings(), settings, FLOAT32_CPU, checkpoints), network


def test_average_is_validated_and_selected_and_weights_train_on(tmp_path: Path) -> None:
    plain, _ = train(tmp_path / "plain", 3, selection="last")
    averaged, network = train(tmp_path / "averaged", 3, selection="last", average_decay=0.8)
    assert [row["loss"] for row in averaged.history] == [row["loss"] for row in plain.history]
    assert [row["validation_dice"] for row in averaged.history] != [row["validation_dice"] for row in plain.history]
    checkpoint = load_checkpoint(tmp_path / "averaged", "identity")
    assert checkpoint is not None
    name = "positive.output.weight"
    assert torch.equal(network.state_dict()[name], checkpoint.average[name])
    assert not torch.equal(checkpoint.network[name], checkpoint.average[name])


def test_resumed_training_with_average_has_the_same_weights(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"average_decay": 0.9, "optimizer": "adamw", "weight_decay": 0.01, "warmup_epochs": 1}
    changes["strategy"] = "plain"  # the steps of easy-to-hard depend on the number of epochs
    _, whole = train(tmp_path / "whole", 4, **changes)
    train(tmp_path / "parts", 2, **changes)
    _, resumed = train(tmp_path / "parts", 4, resume=True, **changes)
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
