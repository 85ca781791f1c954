"""The training of a fold, or of all images: from a job to a trained network.

`prepare_training` writes the settings to the run folder and returns a `Training`; its caller passes the `arguments` to
`fit` and the result to `finished`, which returns a `Trained` network. The run folder then contains experiment.yaml,
history.csv and checkpoint.pt; the caller writes the weights and the record.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from taichinet.datasets.duplicates.known_images import record_seen
from taichinet.datasets.prepared import Prepared
from taichinet.errors import SettingError
from taichinet.evaluation.decision import DEFAULT_DECISION, Decision
from taichinet.experiments.distillation import predict_teacher
from taichinet.experiments.fold_job import ALL_IMAGES, FoldJob
from taichinet.experiments.identity import describe_changes, setting_changes
from taichinet.experiments.initial_weights import (
    PROVENANCE,
    Loaded,
    initial_provenance,
    load_initial,
    refuse_seen_images,
    seen_by,
)
from taichinet.experiments.observer import Observers
from taichinet.experiments.provenance import source_commit
from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, read_settings, write_settings
from taichinet.losses.objective import ObjectiveSettings
from taichinet.models.backbones import architecture
from taichinet.models.catalogue import create_model, model_settings
from taichinet.models.taichinet.network import TaiChiNet, without_training_parts
from taichinet.models.weights_folder import WeightsConfig
from taichinet.storage.atomic import write_text
from taichinet.storage.lock import Lock
from taichinet.training.checkpoint import CheckpointFolder, clear_checkpoints, load_checkpoint
from taichinet.training.device import DeviceConfig
from taichinet.training.easy_hard import MinedRegions, mine_regions, refuse_leakage
from taichinet.training.fit import FitResult, TrainingData, refuse_stopping_without_validation
from taichinet.training.settings import TrainingSettings

HISTORY_FILE = "history.csv"
RUN_IMAGES = CURVES_FILE, VALIDATION_FILE = "learning-curves.png", "validation.png"  # drawn by reports/run_images.py
OnEpoch = Callable[[str, dict[str, Any], int], None]
FitArguments = tuple[
    nn.Module,
    TrainingData,
    ObjectiveSettings,
    TrainingSettings,
    DeviceConfig,
    CheckpointFolder,
    Callable[[dict[str, Any]], None],
]


def prepare_training(job: FoldJob, lock: Lock, on_epoch: OnEpoch) -> Training:
    """Write the settings to the run folder, mine regions if the recipe does, and build the network.

    Args:
        job: Recipe, data, fold and run folder.
        lock: The lock of the run folder, which the caller holds until the run is complete.
        on_epoch: Called after each epoch with "mine" or "train", the epoch's row and the number of epochs.

    Returns:
        The training, whose `arguments` are those of `fit`.

    Raises:
        FoldError: The teacher has not finished the fold or does not fit it, or held-out images were used in its
            training or in the mining.
        LockedError: Another process has taken over the lock; raised after an epoch.
        SettingError: The settings do not fit the data set.
        WeightsError: The folder contains a checkpoint of other settings, images or folds.
    """
    experiment, start = job.experiment, _prepare_folder(job)
    observers = Observers(job)

    def after_epoch(phase: str, epochs: int, row: dict[str, Any]) -> None:
        lock.verify()
        if phase == "train":
            _record_epoch(job.folder, row, start)
            observers.after_epoch(row)
        on_epoch(phase, row, epochs)

    network, initial = _new_network(job)
    train = job.study.prepared.subset(job.split.train)
    mined = _mine(job, train, partial(after_epoch, "mine", experiment.mining.epochs))
    data = _training_data(job, train, mined)
    after_train_epoch = partial(after_epoch, "train", experiment.training.epochs)
    return Training(job, network, data, mined, start, observers, initial, after_train_epoch)


@dataclass(frozen=True)
class Training:
    """A training that is ready to begin: `fit(*arguments)` trains the network."""

    job: FoldJob
    network: nn.Module
    data: TrainingData
    mined: MinedRegions | None
    start: Start
    observers: Observers
    initial: Loaded | None
    after_epoch: Callable[[dict[str, Any]], None]

    @property
    def arguments(self) -> FitArguments:
        """The arguments of `fit`."""
        job, experiment = self.job, self.job.experiment
        checkpoints = CheckpointFolder(job.folder, job.identity, job.resume)
        settings = (experiment.objective, experiment.training, job.device_config)
        return (self.network, self.data, *settings, checkpoints, self.after_epoch)

    def finished(self, fitted: FitResult) -> Trained:
        """Write the history; return the trained network."""
        write_text(self.job.folder / HISTORY_FILE, pd.DataFrame(fitted.history).to_csv(index=False))
        network, options = without_training_parts(self.network), architecture(self.job.experiment.options)
        if network is not self.network and isinstance(network, TaiChiNet):
            options = network.settings.model_dump(mode="json", exclude_defaults=True)
        return Trained(network, options, fitted, self.mined, self.start, self.observers, self.initial)


@dataclass(frozen=True)
class Trained:
    """A trained network without the parts that are only used in training, and the options that build it.

    Attributes:
        mined: The mined regions; None without the learning strategy.
        start: Start of the training.
        observers: To be given the network and the record before this is written.
        initial: What was loaded from the weights that the training started from; None without such weights.
    """

    network: nn.Module
    options: dict[str, Any]
    fitted: FitResult
    mined: MinedRegions | None
    start: Start
    observers: Observers
    initial: Loaded | None = None

    def weights_config(self, job: FoldJob, decision: Decision | None) -> WeightsConfig:
        """The content of config.json; without a decision, the threshold is 0.5."""
        return WeightsConfig(
            job.experiment.model,
            self.options,
            job.experiment.data.size,
            (decision or DEFAULT_DECISION).threshold,
            _provenance(job, self.start.commit, self.initial),
            decision=None if decision is None else decision.model_dump(mode="json"),
        )


@dataclass(frozen=True)
class Start:
    """Start time and commit of this process, and the duration of earlier processes of a resumed run."""

    began: float
    commit: str | None
    earlier_seconds: float

    def seconds(self) -> float:
        """Duration so far, of all processes."""
        return round(self.earlier_seconds + time.perf_counter() - self.began, 1)


def describe_change(job: FoldJob) -> str:
    """For error messages: the settings that differ from those recorded in the run folder."""
    earlier = read_settings(job.folder)
    if earlier is None:
        return ""
    changes = describe_changes(setting_changes(earlier, job.experiment))
    return f" ({changes or 'the settings are equal; images, masks, folds, teacher or precision differ'})"


def _prepare_folder(job: FoldJob) -> Start:
    """Check the settings before anything is written; empty the folder unless the run is resumed."""
    folder, experiment = job.folder, job.experiment
    start = Start(time.perf_counter(), source_commit(), _elapsed(folder) if job.resume else 0.0)
    regions = job.study.prepared.lesion.shape[1]
    if (classes := model_settings(experiment.model, **experiment.options).num_classes) != regions:
        raise SettingError(
            f"options.num_classes is {classes}, but {job.study.plan.dataset} has {regions} region(s). Leave it out."
        )
    if job.fold != ALL_IMAGES and experiment.decision.calibrate and (regions > 1 or not job.split.validation):
        raise SettingError(
            f"decision.calibrate needs validation images with one region, but fold {job.fold} of "
            f"{job.study.plan.dataset} has {len(job.split.validation)} validation images with {regions} region(s). "
            "Increase data.validation_share, or set decision.calibrate=false."
        )
    refuse_stopping_without_validation(experiment.training, job.split.validation)
    identity = job.identity
    if job.resume:
        load_checkpoint(folder, identity, change=describe_change(job))
    folder.mkdir(parents=True, exist_ok=True)
    if not job.resume:
        for name in (RESULT_FILE, SCORES_FILE, HISTORY_FILE, *RUN_IMAGES, "seconds"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "weights", ignore_errors=True)
        clear_checkpoints(folder)
    write_settings(experiment, folder)
    return start


def check_initial_weights(jobs: Sequence[FoldJob]) -> list[str]:
    """Check the weights that trainings start from, before any of them begins.

    Args:
        jobs: Jobs of one recipe.

    Returns:
        Lines for the user: how many tensors are loaded, and what could not be checked. Empty without such weights.

    Raises:
        FoldError: The weights have seen test images.
        WeightsError: They cannot be read, or are those of another network.
    """
    lines: list[str] = []
    for job in jobs:
        if job.initial_weights is not None:
            study = job.study
            _, loaded = _new_network(job)
            line = (
                f"Starts from {job.experiment.initial_weights}: {loaded.tensors} of {loaded.of} tensors."
                if loaded
                else ""
            )
            lines += [line, refuse_seen_images(job.initial_weights, study.manifest, study.plan.digest, job.split)]
    return [line for line in dict.fromkeys(lines) if line]


def _new_network(job: FoldJob) -> tuple[nn.Module, Loaded | None]:
    """The network with random or ImageNet weights, or with those of `job.initial_weights`."""
    torch.manual_seed(job.experiment.training.seed)
    network = create_model(job.experiment.model, **job.experiment.options)
    return network, None if job.initial_weights is None else load_initial(network, job.initial_weights)


def _record_epoch(folder: Path, row: dict[str, Any], start: Start) -> None:
    history = folder / HISTORY_FILE
    # As text, so that earlier numbers are not rounded. Runs that an earlier version began may lack columns.
    earlier = pd.read_csv(history, dtype=str) if history.exists() else pd.DataFrame()
    # A resumed run repeats the epochs after its checkpoint, which is written at most every 30 s.
    rows = [*earlier[: row["epoch"] - 1].to_dict("records"), row]
    write_text(history, pd.DataFrame(rows, columns=list(row)).to_csv(index=False))
    write_text(folder / "seconds", str(start.seconds()))


def _training_data(job: FoldJob, train: Prepared, mined: MinedRegions | None) -> TrainingData:
    split = job.split
    return TrainingData(
        train=train,
        validation=job.study.prepared.subset(split.validation),
        regions=None if mined is None else mined.regions,
        augmentation=job.experiment.data.augmentation,
        teacher_probability=None
        if job.teacher is None
        else predict_teacher(job.teacher, train, split, job.device_config),
        sources=None if job.experiment.data.mix == "proportional" else _sources(job),
    )


def _sources(job: FoldJob) -> tuple[int, ...]:
    """The number of the data set of each training image."""
    dataset_of = {sample.key: str(sample.dataset) for sample in job.study.manifest}
    names = sorted(set(dataset_of.values()))
    return tuple(names.index(dataset_of[key]) for key in job.split.train)


def _mine(job: FoldJob, train: Prepared, on_epoch: Callable[[dict[str, Any]], None]) -> MinedRegions | None:
    experiment = job.experiment
    if experiment.training.strategy == "plain":
        return None
    mined = mine_regions(
        train,
        experiment.mining,
        experiment.data.augmentation,
        job.mining_cache,
        on_epoch,
        job.device_config,
    )
    refuse_leakage(mined.provenance, (*job.split.validation, *job.split.test))
    return mined


def _provenance(job: FoldJob, commit: str | None, initial: Loaded | None) -> dict[str, Any]:
    """Provenance that is stored with the weights. The images of the weights that it started from count as seen."""
    plan, split, experiment = job.study.plan, job.split, job.experiment
    return {
        "recipe": experiment.name,
        "dataset": plan.dataset,
        "dataset_digest": plan.digest,
        "include_normal": experiment.data.include_normal,
        "protocol": plan.protocol,
        "fold": None if job.fold == ALL_IMAGES else job.fold,
        "train_keys": list(split.train),
        "validation_keys": list(split.validation),
        "commit": commit,
        "precision": experiment.training.precision,
        "placement": job.device_config.describe(),
        **({} if initial is None else {PROVENANCE: initial_provenance(initial, str(job.initial_digest))}),
        **record_seen(
            job.study.manifest.subset({*split.train, *split.validation}),
            job.folder,
            None if job.initial_weights is None else seen_by(job.initial_weights),
        ),
    }


def _elapsed(folder: Path) -> float:
    try:
        return float((folder / "seconds").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0
