"""run_fold: train and score one fold, and write its run folder.

A run folder contains experiment.yaml (all settings), history.csv (one row per epoch), weights/ (of the selected epoch),
scores.csv (one row per test image), seen.safetensors (thumbnails of the training images), result.json (summary and
provenance), and checkpoint.pt, which is removed when the fold is complete unless `keep_checkpoint` is set.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from taichinet.datasets.duplicates.known_images import record_seen
from taichinet.datasets.prepared import Prepared
from taichinet.errors import SettingError
from taichinet.evaluation.aggregate import aggregate
from taichinet.evaluation.confidence import ConfidenceKeeper
from taichinet.evaluation.decision import DEFAULT_DECISION, Decision
from taichinet.evaluation.operating_point import OperatingPoint, ValidationImage, choose_operating_point
from taichinet.experiments.distillation import predict_teacher
from taichinet.experiments.fold_job import ALL_IMAGES, FoldJob
from taichinet.experiments.identity import describe_changes, setting_changes
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.experiments.records import (
    RESULT_FILE,
    SCORES_FILE,
    CalibrationRecord,
    FoldRecord,
    FoldResult,
    MiningRecord,
    SelectionRecord,
    SplitRecord,
    read_fold,
    read_settings,
    write_record,
    write_scores,
    write_settings,
)
from taichinet.experiments.scoring import BATCH_SIZE, ScoredImages, score_images
from taichinet.losses.objective import ObjectiveSettings
from taichinet.models.backbones import architecture
from taichinet.models.catalogue import create_model, model_settings
from taichinet.models.complexity import measure_complexity
from taichinet.models.taichinet.network import TaiChiNet, without_training_parts
from taichinet.models.weights import WeightsConfig, save_weights
from taichinet.storage.atomic import remove_leftovers, write_text
from taichinet.storage.lock import Lock, locked
from taichinet.training.checkpoint import CheckpointFolder, clear_checkpoints, load_checkpoint
from taichinet.training.device import DeviceConfig
from taichinet.training.easy_hard import MinedRegions, mine_regions, refuse_leakage
from taichinet.training.fit import FitResult, TrainingData, fit, refuse_idle_ranks
from taichinet.training.loop import predict_batches
from taichinet.training.settings import TrainingSettings

HISTORY_FILE = "history.csv"
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


def run_fold(job: FoldJob, on_epoch: OnEpoch = lambda phase, row, epochs: None) -> FoldResult:
    """Train a recipe on the training part of a fold, score its test part, and write the run folder.

    The test images are read once, after the weights and, on the validation part, the decision have been chosen. Parts
    of the network that are only used in training (a second path that is not part of the output) are not scored, counted
    or saved.

    Args:
        job: Recipe, data, fold and run folder.
        on_epoch: Called after each epoch with "mine" or "train", the epoch's row and the number of epochs.

    Returns:
        The completed fold; read from the folder if it was completed before and `job.resume` is true.

    Raises:
        LockedError: Another process works in the run folder.
        FoldError, WeightsError: The folder contains a fold or checkpoint of other settings, images or folds.
        SettingError: The settings do not fit the data set, or the training became non-finite.
    """
    experiment = job.experiment
    with locked(job.folder / "lock") as lock:
        remove_leftovers(job.folder)
        refuse_idle_ranks(experiment.training, job.device_config)  # before the mining stage, which takes hours
        if job.resume and (job.folder / RESULT_FILE).exists():
            return read_fold(job.folder, job.identity, describe_change(job))
        training = prepare_training(job, lock, on_epoch)
        return _score_and_record(job, training.finished(fit(*training.arguments)))


@dataclass(frozen=True)
class Trained:
    """A trained network without the parts that are only used in training, and the options that build it.

    Attributes:
        mined: The mined regions; None without the learning strategy.
        start: Start of the training.
    """

    network: nn.Module
    options: dict[str, Any]
    fitted: FitResult
    mined: MinedRegions | None
    start: Start

    def weights_config(self, job: FoldJob, decision: Decision | None) -> WeightsConfig:
        """The content of config.json; without a decision, the threshold is 0.5."""
        return WeightsConfig(
            job.experiment.model,
            self.options,
            job.experiment.data.size,
            (decision or DEFAULT_DECISION).threshold,
            _provenance(job, self.start.commit),
            decision=None if decision is None else decision.model_dump(mode="json"),
        )


@dataclass(frozen=True)
class Training:
    """A training that is ready to begin: `fit(*arguments)` trains the network."""

    job: FoldJob
    network: nn.Module
    data: TrainingData
    mined: MinedRegions | None
    start: Start
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
        return Trained(network, options, fitted, self.mined, self.start)


def prepare_training(job: FoldJob, lock: Lock, on_epoch: OnEpoch) -> Training:
    """Write the settings to the run folder, mine regions if the recipe does, and build the network.

    The arguments and errors are those of `run_fold`; `lock` is that of the run folder.
    """
    experiment, start = job.experiment, _prepare_folder(job)

    def after_epoch(phase: str, epochs: int, row: dict[str, Any]) -> None:
        lock.verify()
        if phase == "train":
            _record_epoch(job.folder, row, start)
        on_epoch(phase, row, epochs)

    train = job.study.prepared.subset(job.split.train)
    mined = _mine(job, train, partial(after_epoch, "mine", experiment.mining.epochs))
    torch.manual_seed(experiment.training.seed)
    network = create_model(experiment.model, **experiment.options)
    data = _training_data(job, train, mined)
    return Training(job, network, data, mined, start, partial(after_epoch, "train", experiment.training.epochs))


@dataclass(frozen=True)
class Start:
    """Start time and commit of this process, and the duration of earlier processes of a resumed run."""

    began: float
    commit: str | None
    earlier_seconds: float

    def seconds(self) -> float:
        """Duration so far, of all processes."""
        return round(self.earlier_seconds + time.perf_counter() - self.began, 1)


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
    identity = job.identity
    if job.resume:
        load_checkpoint(folder, identity, change=describe_change(job))
    folder.mkdir(parents=True, exist_ok=True)
    if not job.resume:
        for name in (RESULT_FILE, SCORES_FILE, HISTORY_FILE, "seconds"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "weights", ignore_errors=True)
        clear_checkpoints(folder)
    write_settings(experiment, folder)
    return start


def _record_epoch(folder: Path, row: dict[str, Any], start: Start) -> None:
    history = folder / HISTORY_FILE
    lines = history.read_text(encoding="utf-8").splitlines(keepends=True) if history.exists() else []
    # A resumed run repeats the epochs after its checkpoint, which is written at most every 30 s.
    earlier = "".join(lines[: row["epoch"]])
    write_text(history, earlier + pd.DataFrame([row]).to_csv(header=not earlier, index=False))
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
    )


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


def _score_and_record(job: FoldJob, trained: Trained) -> FoldResult:
    """Score the test part and write scores, weights and, last, result.json, which marks the fold as complete."""
    experiment, study, folder = job.experiment, job.study, job.folder
    network, fitted, mined = trained.network, trained.fitted, trained.mined
    operating_point = _choose_decision(job, network)
    decision = DEFAULT_DECISION if operating_point is None else operating_point.decision
    scored, calibration = _score(job, network, decision)
    plan, split = study.plan, job.split
    record = FoldRecord(
        identity=job.identity,
        experiment=experiment,
        dataset=plan.dataset,
        dataset_digest=plan.digest,
        protocol=plan.protocol,
        fold=job.fold,
        folds=plan.count,
        fold_seed=plan.seed,
        images=SplitRecord(train=len(split.train), validation=len(split.validation), test=len(split.test)),
        selection=SelectionRecord(
            rule=experiment.training.selection,
            on="inner validation split, disjoint from the test fold" if split.validation else "nothing",
            epoch=fitted.best_epoch,
            validation_dice=None if isnan(fitted.best_dice) else fitted.best_dice,
        ),
        mining=None if mined is None else _mining_record(mined),
        teacher=job.teacher_digest,
        **asdict(measure_complexity(experiment.model, experiment.data.size, **trained.options)),
        placement=job.device_config.describe(),
        inference_seconds_per_image=scored.inference_seconds_per_image,
        wall_seconds=trained.start.seconds(),
        commit=trained.start.commit,
        machine=describe_machine(),
        scores=write_scores(folder / SCORES_FILE, scored.rows),
        summary=aggregate(scored.rows),
        calibration=calibration,
        decision=operating_point,
    )
    config = trained.weights_config(job, None if operating_point is None else decision)
    save_weights(network, config, folder / "weights")
    write_record(folder / RESULT_FILE, record)
    clear_checkpoints(folder, keep_newest=job.keep_checkpoint)
    return FoldResult(folder, scored.rows, record)


def _choose_decision(job: FoldJob, network: nn.Module) -> OperatingPoint | None:
    """The decision chosen on the inner validation split; None unless `decision.calibrate` is set."""
    settings = job.experiment.decision
    if not settings.calibrate:
        return None
    validation = job.study.prepared.subset(job.split.validation).to(job.device_config.device)
    predictions = predict_batches(network, validation.batches(BATCH_SIZE), job.device_config)
    probabilities = torch.cat([prediction.lesion[:, 0] for prediction in predictions]).numpy()
    truths = validation.lesion[:, 0].cpu().numpy() > 0.5
    images = [ValidationImage(*maps) for maps in zip(probabilities, truths, strict=True)]
    return choose_operating_point(images, settings.sensitivity)


def _score(job: FoldJob, network: nn.Module, decision: Decision) -> tuple[ScoredImages, CalibrationRecord]:
    """Scores of the test part, and the calibration on it."""
    manifest = job.study.manifest
    confidences = ConfidenceKeeper(manifest.regions[0])
    test = job.study.prepared.subset(job.split.test)
    scored = score_images(network, manifest, test, job.fold, job.device_config, decision, confidences)
    return scored, CalibrationRecord.of(confidences)


def _provenance(job: FoldJob, commit: str | None) -> dict[str, Any]:
    """Provenance that is stored with the weights."""
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
        **record_seen(job.study.manifest.subset({*split.train, *split.validation}), job.folder),
    }


def describe_change(job: FoldJob) -> str:
    """For error messages: the settings that differ from those recorded in the run folder."""
    earlier = read_settings(job.folder)
    if earlier is None:
        return ""
    changes = describe_changes(setting_changes(earlier, job.experiment))
    return f" ({changes or 'the settings are equal; images, masks, folds, teacher or precision differ'})"


def _mining_record(mined: MinedRegions) -> MiningRecord:
    easy = mined.regions.easy.flatten(1).sum(1)
    hard = mined.regions.hard.flatten(1).sum(1)
    return MiningRecord(
        identity=mined.provenance.identity(),
        seconds=mined.provenance.seconds,
        easy_share_of_lesion=mined.provenance.easy_share_of_lesion,
        hard_share_of_lesion=mined.provenance.hard_share_of_lesion,
        images_without_easy_part=int((easy == 0).sum()),
        images_without_hard_part=int((hard == 0).sum()),
    )


def _elapsed(folder: Path) -> float:
    try:
        return float((folder / "seconds").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0
