"""An epoch does not wait for the device: values are copied to the host only at its end.

The meta device stands in for a GPU. It has no values, so a dispatch mode answers every copy to the host with ones.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from helpers import NARROW, discs, halves, tiny_network, tiny_settings
from torch.utils._python_dispatch import TorchDispatchMode

from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.catalogue import create_model, list_models
from taichinet.training.device import DeviceConfig
from taichinet.training.fit import TrainingData, epoch_batches, validation_dice
from taichinet.training.loop import TrainingStep, train_epoch

META = torch.device("meta")


class OnMeta(DeviceConfig):
    """The meta device has no autocast."""

    def autocast(self) -> Any:
        return nullcontext()


class CopiesToHost(TorchDispatchMode):
    """Counts operations that wait for the device: `.item()`, branches on values and copies to the CPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        from_device = bool(args) and isinstance(args[0], torch.Tensor) and args[0].device == META
        if from_device and name in ("_local_scalar_dense", "nonzero", "masked_select"):
            self.count += 1
            return 1.0
        if from_device and name == "_to_copy" and torch.device(kwargs.get("device", META)).type == "cpu":
            self.count += 1
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return operation(*args, **kwargs)


def copies_of_an_epoch(model: str, images: int) -> int:
    """The copies to the host of one epoch in batches of three, without those of the validation."""
    train = discs(images, size=64)
    data = TrainingData(train, train, halves(train), AugmentationSettings()).to(META)
    # On the meta device, no weights are drawn; these two networks read values while they are built.
    with torch.device("cpu" if model in ("fat-net", "x-net") else META):
        network = create_model(model, **NARROW.get(model, {})).to(META)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    with CopiesToHost() as copies:
        step = TrainingStep(
            network,
            lambda prediction, batch: objective(prediction, batch, "hard", ObjectiveSettings()),
            optimizer,
            OnMeta(META, bf16=False, memory_format=torch.channels_last),
        )
        train_epoch(step, epoch_batches(data, tiny_settings(), 3))
    return int(copies.count)


@pytest.mark.parametrize("images", [3, 12])
def test_training_copies_losses_and_flags_once_per_epoch(images: int) -> None:
    assert copies_of_an_epoch("taichinet", images) == 2


@pytest.mark.parametrize("images", [2, 9])
def test_validation_copies_flags_and_score_once(images: int) -> None:
    network = tiny_network().to(META)
    with CopiesToHost() as copies:
        validation_dice(network, discs(images).to(META), 2, OnMeta(META, False, torch.channels_last))
    assert copies.count == 2


def test_a_copy_is_counted() -> None:
    with CopiesToHost() as copies:
        torch.ones(3, device=META).sum().item()
        torch.ones(3, device=META).cpu()
        if torch.ones(1, device=META) > 0:
            pass
    assert copies.count == 3


@pytest.mark.parametrize("model", [name for name in list_models() if name not in ("taichinet", "unet")])
def test_no_baseline_waits_within_an_epoch(model: str) -> None:
    assert copies_of_an_epoch(model, 3) == 2
