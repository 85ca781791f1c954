"""Gradient accumulation: without BatchNorm, the step over micro-batches equals the step of the full batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import FLOAT32_CPU, discs, halves, tiny_network, tiny_settings, train_tiny
from pydantic import ValidationError
from torch import nn

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.datasets.prepared import TeacherProbabilities
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.training.easy_hard import MiningSettings
from taichinet.training.easy_hard import _provenance as provenance_of
from taichinet.training.loop import TrainingStep, train_epoch
from taichinet.training.settings import TrainingSettings


def without_batch_norm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm by the identity."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return network


def whole_batch(count: int = 7) -> Batch:
    """Images with teacher predictions, of which some have no hard part."""
    data = discs(count)
    regions = halves(data)
    regions.hard[:2] = 0
    return data.batch(torch.arange(count), regions, TeacherProbabilities(data.keys, data.image))


def gradients_after(network: nn.Module, batch: Batch, accumulate: int) -> tuple[float, list[torch.Tensor]]:
    """The reported loss and the gradients for the optimiser."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)

    def loss(prediction: Any, part: Batch) -> torch.Tensor:
        return objective(prediction, part, "hard", ObjectiveSettings())

    value = train_epoch(TrainingStep(network, loss, optimizer, FLOAT32_CPU, accumulate), [batch])
    return value, [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("accumulate", [2, 3, 100])
def test_gradients_equal_full_batch_without_batch_norm(accumulate: int) -> None:
    batch = whole_batch()
    loss, gradients = gradients_after(without_batch_norm(tiny_network()), batch, 1)
    parts_loss, parts_gradients = gradients_after(without_batch_norm(tiny_network()), batch, accumulate)
    assert parts_loss == pytest.approx(loss)
    assert len(gradients) == len(parts_gradients) > 0
    for whole, summed in zip(gradients, parts_gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-3, atol=1e-6)


def test_optimiser_steps_once_per_batch_and_each_image_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network()
    seen: list[int] = []
    network.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    steps: list[int] = []
    take = optimizer.step

    def step() -> None:
        steps.append(len(seen))
        take()

    monkeypatch.setattr(optimizer, "step", step)
    batches = [whole_batch(7), whole_batch(3)]
    train_epoch(
        TrainingStep(network, lambda p, b: objective(p, b, "hard", ObjectiveSettings()), optimizer, FLOAT32_CPU, 3),
        batches,
    )
    assert seen == [3, 2, 2, 3]  # never a single image, which has no variance in BatchNorm
    assert steps == [3, 4]


def test_split_batch_preserves_masks_of_every_image() -> None:
    whole = whole_batch(7)
    parts = whole.split(3)
    assert [len(part.image) for part in parts] == [3, 2, 2]
    for name, value in vars(whole).items():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), value)
    (bare,) = Batch(whole.image, whole.lesion).split(1)
    assert bare.easy is None
    assert bare.teacher_probability is None


def test_training_and_validation_use_micro_batches(tmp_path: Any) -> None:
    sizes: list[tuple[bool, int]] = []
    network = tiny_network()
    network.register_forward_pre_hook(lambda module, args: sizes.append((module.training, len(args[0]))))
    train_tiny(tmp_path, tiny_settings(epochs=1, batch_size=4, accumulate=2), network=network)
    assert [size for training, size in sizes if training] == [2, 2, 3]  # seven images: batches of four and three
    assert max(size for training, size in sizes if not training) == 2


def test_micro_batches_of_one_image_are_rejected() -> None:
    TrainingSettings(batch_size=8, accumulate=4)
    with pytest.raises(ValidationError, match="use at most 4"):
        TrainingSettings(batch_size=8, accumulate=5)


def test_default_accumulation_does_not_change_mining_identity() -> None:
    """Otherwise, all cached regions would be mined again for a setting that changes nothing."""
    train, settings = discs(2), MiningSettings(batch_size=8)
    whole, parts = (
        provenance_of(train, settings.model_copy(update={"accumulate": parts}), AugmentationSettings(), FLOAT32_CPU)
        for parts in (1, 2)
    )
    assert "accumulate" not in whole.settings
    assert parts.settings == {**whole.settings, "accumulate": 2}
    assert whole.identity() != parts.identity()
