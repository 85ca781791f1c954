"""Training of a network: epochs, curriculum step, validation, model selection, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings, augment
from taichinet.datasets.prepared import Prepared, Regions, TeacherProbabilities
from taichinet.errors import SettingError
from taichinet.evaluation.metrics import image_dice
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.training.checkpoint import CURRENT, Checkpoint, CheckpointFolder, load_checkpoint, save_checkpoint
from taichinet.training.device import DeviceConfig, keep_freed_memory
from taichinet.training.loop import BatchLoss, NotFiniteError, predict_batches, train_epoch
from taichinet.training.settings import TrainingSettings

History = list[dict[str, Any]]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingData:
    """Data of a training.

    Attributes:
        train: Training images.
        validation: Images for model selection.
        regions: E_p and H_p of `train`, or None if the strategy does not need them.
        augmentation: Augmentation of the training images.
        teacher_probability: Teacher probabilities for `train`, or None without a teacher.
    """

    train: Prepared
    validation: Prepared
    regions: Regions | None
    augmentation: AugmentationSettings
    teacher_probability: TeacherProbabilities | None = None


@dataclass(frozen=True)
class Task:
    """All inputs of a training for another rank, starting at `epoch`. `data` has no validation images."""

    network: nn.Module
    data: TrainingData
    loss: ObjectiveSettings
    settings: TrainingSettings
    device_config: DeviceConfig
    epoch: int
    optimizer: dict[str, Any]

    def new_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam for the weights of `network`, which must be on its device, with the state of the checkpoint if any."""
        optimizer = torch.optim.Adam(network.parameters(), lr=self.settings.learning_rate)
        if self.optimizer:
            optimizer.load_state_dict(self.optimizer)
        return optimizer


@dataclass(frozen=True)
class FitResult:
    """Selected epoch, its validation Dice (NaN without validation images), and one row of metrics per epoch."""

    best_epoch: int
    best_dice: float
    history: History


def fit(
    network: nn.Module,
    data: TrainingData,
    loss: ObjectiveSettings,
    settings: TrainingSettings,
    device_config: DeviceConfig,
    checkpoints: CheckpointFolder,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> FitResult:
    """Train `network` in place and load the selected weights.

    A checkpoint is written after every epoch. A resumed training ends with bitwise the same weights as an uninterrupted
    one, on the same machine and with the same number of threads. With several ranks, this function runs on rank 0 and
    broadcasts a `Task` to the others.

    Args:
        network: The network to train.
        data: Training and validation images.
        loss: Loss terms and weights.
        settings: Training settings.
        device_config: Device, precision and ranks.
        checkpoints: Folder of the checkpoints, and whether to resume from the newest one.
        on_epoch: Called with the history row of each completed epoch.

    Returns:
        Selected epoch, its validation Dice, and the history.

    Raises:
        SettingError: Mined regions are missing, batches are too small for the number of ranks, or a value is not
            finite. In the last case, the checkpoint of the previous epoch is kept.
        WeightsError: A checkpoint cannot be written, or cannot be resumed from.
        ProcessError: Another rank exited or does not respond.
    """
    task, state = _start(network, data, loss, settings, device_config, checkpoints)
    device_config.place(network)
    optimizer = task.new_optimizer(network)
    while state.epoch < settings.epochs:
        began = time.perf_counter()
        batches, batch_loss = prepare_epoch(task, optimizer, state.epoch)
        try:
            train_loss = train_epoch(network, batches, batch_loss, optimizer, device_config, settings.accumulate)
            dice = validation_dice(network, data.validation, settings.micro_batch_size, device_config)
        except NotFiniteError as error:
            last_state = _describe_last_state(state, checkpoints.folder)
            raise SettingError(f"Epoch {state.epoch + 1}: {error} {last_state}") from error
        row = {
            "epoch": state.epoch + 1,
            "step": settings.step(state.epoch),
            "loss": train_loss,
            "validation_dice": dice,
            "seconds": time.perf_counter() - began,
        }
        state = _after_epoch(state, network, optimizer, row, settings.selection == "last")
        save_checkpoint(state, checkpoints.folder)
        if checkpoints.lock is not None:
            checkpoints.lock.verify()
        on_epoch(row)
    network.load_state_dict(state.best)
    return FitResult(state.best_epoch, state.best_dice, state.history)


def _start(
    network: nn.Module,
    data: TrainingData,
    loss: ObjectiveSettings,
    settings: TrainingSettings,
    device_config: DeviceConfig,
    checkpoints: CheckpointFolder,
) -> tuple[Task, Checkpoint]:
    """Check the settings, load the checkpoint to resume from, and broadcast the task to the other ranks."""
    if settings.strategy == "easy-to-hard" and data.regions is None:
        raise SettingError("training.strategy=easy-to-hard needs mined regions. Mine them, or train with 'plain'.")
    refuse_idle_ranks(settings, device_config)
    if device_config.device.type == "cpu":
        keep_freed_memory()
    earlier = load_checkpoint(checkpoints.folder, checkpoints.identity) if checkpoints.resume else None
    if earlier is not None:
        network.load_state_dict(earlier.network)
    state = earlier or Checkpoint(checkpoints.identity, 0, {}, {}, {}, -math.inf, 0, [])
    shared = replace(data, validation=data.validation.subset(()))
    task = Task(network, shared, loss, settings, device_config, state.epoch, state.optimizer)
    device_config.ranks.broadcast(task)  # before the network is moved to the GPU of rank 0
    return task, state


def _after_epoch(
    state: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer, row: dict[str, Any], always_select: bool
) -> Checkpoint:
    """`state` with the epoch of `row`, and its weights as the selected ones if its validation Dice is the best."""
    after = replace(
        state,
        epoch=row["epoch"],
        network=network.state_dict(),
        optimizer=optimizer.state_dict(),
        history=[*state.history, row],
    )
    dice = row["validation_dice"]
    if not (always_select or math.isnan(dice) or dice > state.best_dice):
        return after
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return replace(after, best=weights, best_dice=dice, best_epoch=row["epoch"])


def _describe_last_state(state: Checkpoint, folder: Path) -> str:
    if not state.epoch:
        return "No epoch had been completed before."
    best = f", with the selected weights of epoch {state.best_epoch}" if state.best_epoch else ""
    return f"The last valid state, after epoch {state.epoch}{best}, is kept in {folder / CURRENT}."


def prepare_epoch(task: Task, optimizer: torch.optim.Optimizer, epoch: int) -> tuple[Iterator[Batch], BatchLoss]:
    """Set the learning rate of `epoch` (from 0); return its batches and the loss of its curriculum step."""
    settings, device_config = task.settings, task.device_config
    step = settings.step(epoch)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, epoch)
    batches = epoch_batches(task.data, settings, epoch, device_config.ranks.rank, device_config.device)
    return batches, lambda prediction, batch: objective(prediction, batch, step, task.loss)


def epoch_batches(
    data: TrainingData,
    settings: TrainingSettings,
    epoch: int,
    rank: int = 0,
    device: torch.device = CPU,
) -> Iterator[Batch]:
    """Shuffled and augmented batches of an epoch, determined by (seed, epoch), so that resuming reproduces them.

    Batches are the same on every rank. Random numbers in layers, such as dropout, differ between ranks. `epoch` counts
    from 0; the batches are augmented on `device`.
    """
    seed = settings.seed * 1_000_003 + epoch
    torch.manual_seed(seed + rank * 1_000_000_000_039)
    generator = torch.Generator().manual_seed(seed)
    for batch in data.train.batches(settings.batch_size, generator, data.regions, data.teacher_probability):
        yield augment(batch.to(device, torch.contiguous_format), data.augmentation, generator)


def refuse_idle_ranks(settings: TrainingSettings, device_config: DeviceConfig) -> None:
    """Raise SettingError if micro-batches are too small for two images on each of several ranks."""
    needed = 2 * settings.accumulate * device_config.ranks.size
    if device_config.ranks.size > 1 and settings.batch_size < needed:
        raise SettingError(
            f"A batch of {settings.batch_size} in {settings.accumulate} micro-batch(es) has fewer than two images for "
            f"each of {device_config.ranks.size} processes. Start fewer processes, or raise batch_size to {needed}."
        )


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """Learning rate in `epoch` (from 0): constant, as in the paper, or cosine decay to 1 % of the initial rate."""
    if settings.schedule == "constant":
        return settings.learning_rate
    progress = epoch / max(settings.epochs - 1, 1)
    return settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def validation_dice(network: nn.Module, data: Prepared, batch_size: int, device_config: DeviceConfig) -> float:
    """Mean Dice over the validation images at the input resolution of the network; NaN without images."""
    if not data.keys:
        return math.nan
    scores = []
    rows = torch.split(torch.arange(len(data.keys)), batch_size)
    predictions = predict_batches(network, (data.batch(part) for part in rows), device_config)
    for part, prediction in zip(rows, predictions, strict=True):
        scores.append(image_dice(prediction.lesion, data.batch(part).lesion))
    return float(torch.cat(scores).mean())
