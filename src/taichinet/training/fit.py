"""Training of a network: epochs, curriculum step, validation, model selection, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taichinet.batch import Batch, Prediction
from taichinet.datasets.augmentation import AugmentationSettings, draw_transforms
from taichinet.datasets.prepared import Prepared, Regions, TeacherProbabilities
from taichinet.errors import SettingError
from taichinet.evaluation.metrics import image_dice
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.signals import EXIT_TERMINATED, raise_on_sigterm
from taichinet.training.average import WeightAverage
from taichinet.training.checkpoint import CURRENT, Checkpoint, CheckpointFolder, load_checkpoint
from taichinet.training.checkpoint_writer import CheckpointWriter
from taichinet.training.device import DeviceConfig, keep_freed_memory
from taichinet.training.distributed.ranks import Ranks
from taichinet.training.gpu.use import step_graphs
from taichinet.training.loop import (
    NotFiniteError,
    TrainingStep,
    finite_outputs,
    network_outputs,
    refuse_not_finite_outputs,
    train_epoch,
)
from taichinet.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from taichinet.training.settings import TrainingSettings

History = list[dict[str, Any]]


@dataclass(frozen=True)
class TrainingData:
    """Data of a training.

    Attributes:
        train: Training images.
        validation: Images for model selection.
        regions: E_p and H_p of `train`, or None if the strategy does not need them.
        augmentation: Augmentation of the training images.
        teacher_probability: Teacher probabilities for `train`, or None without a teacher.
        sources: Number of the data set of each image of `train`, of which each is then drawn equally often; None to
            draw each image once per epoch.
    """

    train: Prepared
    validation: Prepared
    regions: Regions | None
    augmentation: AugmentationSettings
    teacher_probability: TeacherProbabilities | None = None
    sources: tuple[int, ...] | None = None

    def to(self, device: torch.device) -> TrainingData:
        """The same data on `device`, as uint8: 80 MB for BUSI at 224 px."""
        return TrainingData(
            self.train.to(device),
            self.validation.to(device),
            None if self.regions is None else self.regions.to(device),
            self.augmentation,
            None if self.teacher_probability is None else self.teacher_probability.to(device),
            self.sources,
        )


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

    def on_device(self, device_config: DeviceConfig) -> tuple[Task, torch.optim.Optimizer]:
        """The task with network and data on the device, and the optimiser with the state of the checkpoint, if any."""
        network = device_config.place(self.network)
        optimizer = make_optimizer(network, self.settings, device_config.device, self.optimizer)
        data = self.data.to(device_config.device)
        return replace(self, network=network, data=data, device_config=device_config), optimizer


@dataclass(frozen=True)
class FitResult:
    """Result of a training.

    Attributes:
        best_epoch: The selected epoch, from 1.
        best_dice: Its validation Dice; NaN without validation images.
        history: One row of metrics per epoch.
        stopped_after: Number of epochs after which early stopping ended the training; None if it did not.
    """

    best_epoch: int
    best_dice: float
    history: History
    stopped_after: int | None = None


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

    Images and masks are held on the device, and an epoch does not wait for it: losses are read at its end. Checkpoints
    are written in a thread, at most every 30 s, and the last one always, also after Ctrl-C or SIGTERM. A resumed
    training ends with bitwise the same weights as an uninterrupted one, on the same machine and with the same number of
    threads. With several ranks, this function runs on rank 0 and broadcasts a `Task` to the others.

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
        SettingError: Mined regions are missing, early stopping has no validation images, batches are too small for
            the number of ranks, or a value is not finite. In the last case, the state after the previous epoch is kept.
        WeightsError: A checkpoint cannot be written, or cannot be resumed from.
        ProcessError: Another rank exited or does not respond.
    """
    task, state = _start(network, data, loss, settings, device_config, checkpoints)
    task, optimizer = task.on_device(device_config)
    validation = data.validation.to(device_config.device)
    graphs = step_graphs(device_config, settings.accumulate)
    average = _average(network, settings, optimizer, state)
    evaluated = network if average is None else average.network
    with raise_on_sigterm(SystemExit(EXIT_TERMINATED)), CheckpointWriter(checkpoints) as writer:
        while goes_on(settings, state.epoch, device_config.ranks, settings.stopped_after(state.history) is None):
            began = time.perf_counter()
            batches, step = prepare_epoch(task, optimizer, state.epoch)
            replay = None if graphs is None else partial(graphs.run, settings.step(state.epoch))
            try:
                train_loss = train_epoch(step, batches, replay)
                dice = validation_dice(evaluated, validation, settings.micro_batch_size, device_config)
            except NotFiniteError as error:
                last_state = _describe_last_state(state, checkpoints.folder)
                raise SettingError(f"Epoch {state.epoch + 1}: {error} {last_state}") from error
            row = _row(state.epoch, settings, train_loss, dice, began)
            state = _after_epoch(state, network, optimizer, row, average)
            if settings.selection == "last" or math.isnan(dice) or dice > state.best_dice:
                state = replace(state, best=state.average or state.network, best_dice=dice, best_epoch=state.epoch)
            writer.add(state)
            on_epoch(row)
    network.load_state_dict(state.best)
    return FitResult(state.best_epoch, state.best_dice, state.history, settings.stopped_after(state.history))


def goes_on(settings: TrainingSettings, epoch: int, ranks: Ranks, wanted: bool = True) -> bool:
    """Whether to train `epoch` (from 0); with early stopping, all ranks follow `wanted` of rank 0, which validates."""
    if epoch >= settings.epochs:
        return False
    return bool(ranks.broadcast(wanted)) if settings.patience else True


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
        raise SettingError(
            "training.strategy=easy-to-hard needs easy and hard pixels. Mine them, or train with 'plain'."
        )
    refuse_stopping_without_validation(settings, data.validation.keys)
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


def _average(
    network: nn.Module, settings: TrainingSettings, optimizer: torch.optim.Optimizer, state: Checkpoint
) -> WeightAverage | None:
    """The moving average of the weights, continued from `state`; None if the settings have none."""
    if not settings.average_decay:
        return None
    average = WeightAverage(network, settings.average_decay, state.average)
    average.follow(optimizer)
    return average


def _row(epoch: int, settings: TrainingSettings, loss: float, dice: float, began: float) -> dict[str, Any]:
    """The row of the history of `epoch` (from 0)."""
    return {
        "epoch": epoch + 1,
        "step": settings.step(epoch),
        "loss": loss,
        "validation_dice": dice,
        "learning_rate": learning_rate(settings, epoch),
        "seconds": time.perf_counter() - began,
    }


def _after_epoch(
    state: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    row: dict[str, Any],
    average: WeightAverage | None,
) -> Checkpoint:
    """`state` with the weights, optimiser and `row` of another epoch."""
    return replace(
        state,
        epoch=row["epoch"],
        network=_weights(network),
        optimizer=copy.deepcopy(optimizer.state_dict()),
        average={} if average is None else _weights(average.network),
        history=[*state.history, row],
    )


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights and statistics."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _describe_last_state(state: Checkpoint, folder: Path) -> str:
    if not state.epoch:
        return "No epoch had been completed before."
    best = f", with the selected weights of epoch {state.best_epoch}" if state.best_epoch else ""
    return f"The last valid state, after epoch {state.epoch}{best}, is kept in {folder / CURRENT}."


def prepare_epoch(task: Task, optimizer: torch.optim.Optimizer, epoch: int) -> tuple[Iterator[Batch], TrainingStep]:
    """Set the learning rate of `epoch` (from 0); return its batches and the optimiser step of its curriculum step."""
    settings, device_config = task.settings, task.device_config
    step = settings.step(epoch)
    set_learning_rate(optimizer, learning_rate(settings, epoch))

    def loss_of(prediction: Prediction, batch: Batch) -> torch.Tensor:
        return objective(prediction, batch, step, task.loss)

    batches = epoch_batches(task.data, settings, epoch, device_config.ranks.rank)
    return batches, TrainingStep(task.network, loss_of, optimizer, device_config, settings.accumulate)


def epoch_batches(data: TrainingData, settings: TrainingSettings, epoch: int, rank: int = 0) -> Iterator[Batch]:
    """Shuffled and augmented batches of an epoch, determined by (seed, epoch), so that resuming reproduces them.

    Batches are the same on every rank. Random numbers in layers, such as dropout, differ between ranks. Order and
    augmentation are drawn on the CPU, which gives the same batches on every device. `epoch` counts from 0; the batches
    are on the device of the data.
    """
    seed = settings.seed * 1_000_003 + epoch
    torch.manual_seed(seed + rank * 1_000_000_000_039)
    generator = torch.Generator().manual_seed(seed)
    rows_of_batches = data.train.shuffled_rows(settings.batch_size, generator, data.sources)
    batches = (data.train.batch(rows, data.regions, data.teacher_probability) for rows in rows_of_batches)
    if data.augmentation.is_off:
        yield from batches
        return
    sizes = [len(rows) for rows in rows_of_batches]
    drawn = draw_transforms(sizes, data.augmentation, generator, data.train.image.device)
    for batch, transforms in zip(batches, drawn, strict=True):
        yield transforms.apply(batch)


def refuse_idle_ranks(settings: TrainingSettings, device_config: DeviceConfig) -> None:
    """Raise SettingError if micro-batches are too small for two images on each of several ranks."""
    needed = 2 * settings.accumulate * device_config.ranks.size
    if device_config.ranks.size > 1 and settings.batch_size < needed:
        raise SettingError(
            f"A batch of {settings.batch_size} in {settings.accumulate} micro-batch(es) has fewer than two images for "
            f"each of {device_config.ranks.size} processes. Start fewer processes, or raise batch_size to {needed}."
        )


def refuse_stopping_without_validation(settings: TrainingSettings, keys: Sequence[str]) -> None:
    """Raise SettingError if early stopping is set and there are no validation images; `keys` are theirs."""
    if settings.patience and not keys:
        raise SettingError(
            f"training.patience={settings.patience} needs validation images, and there are none. Set "
            "training.patience=0 and training.epochs, e.g. to the mean number of epochs of the folds, or increase "
            "data.validation_share."
        )


def validation_dice(network: nn.Module, data: Prepared, batch_size: int, device_config: DeviceConfig) -> float:
    """Mean Dice over the validation images at the input resolution of the network; NaN without images."""
    if not data.keys:
        return math.nan
    scores, finite = [], []
    for batch, prediction in network_outputs(network, data.batches(batch_size), device_config):
        scores.append(image_dice(prediction.lesion, batch.lesion))
        finite.append(finite_outputs(prediction))
    refuse_not_finite_outputs(torch.stack(finite))
    return float(torch.cat(scores).mean())
