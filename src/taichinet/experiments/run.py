"""run_fold: train and score one fold, and write its run folder.

A run folder contains experiment.yaml (all settings), history.csv (one row per epoch), weights/ (of the selected epoch),
scores.csv (one row per test image), seen.safetensors (thumbnails of the training images), result.json (summary and
provenance), and checkpoint.pt, which is removed when the fold is complete unless `keep_checkpoint` is set. `train` and
`compare` also draw learning-curves.png and validation.png.
"""

from __future__ import annotations

from dataclasses import asdict
from math import isnan

import torch
from torch import nn

from taichinet.evaluation.aggregate import aggregate
from taichinet.evaluation.confidence import ConfidenceKeeper
from taichinet.evaluation.decision import DEFAULT_DECISION, Decision
from taichinet.evaluation.operating_point import OperatingPoint, ValidationImage, choose_operating_point
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.provenance import describe_machine
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
    write_record,
    write_scores,
)
from taichinet.experiments.scoring import BATCH_SIZE, ScoredImages, score_images
from taichinet.experiments.training_run import OnEpoch, Trained, describe_change, prepare_training
from taichinet.models.complexity import measure_complexity
from taichinet.models.weights import save_weights
from taichinet.storage.atomic import remove_leftovers
from taichinet.storage.lock import locked
from taichinet.training.checkpoint import clear_checkpoints
from taichinet.training.easy_hard import MinedRegions
from taichinet.training.fit import fit, refuse_idle_ranks
from taichinet.training.loop import predict_batches


def run_fold(job: FoldJob, on_epoch: OnEpoch = lambda phase, row, epochs: None) -> FoldResult:
    """Train a recipe on the training set of a fold, score its test set, and write the run folder.

    The test images are read once, after the weights and, on the validation set, the decision have been chosen. Parts
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


def _score_and_record(job: FoldJob, trained: Trained) -> FoldResult:
    """Score the test set and write scores, weights and, last, result.json, which marks the fold as complete."""
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
            stopped_after=fitted.stopped_after,
        ),
        mining=None if mined is None else _mining_record(mined),
        teacher=job.teacher_digest,
        initial_weights=job.initial_digest,
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
    trained.observers.completed(network, decision, record)
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
    """Scores of the test set, and the calibration on it."""
    manifest = job.study.manifest
    confidences = ConfidenceKeeper(manifest.regions[0])
    test = job.study.prepared.subset(job.split.test)
    scored = score_images(network, manifest, test, job.fold, job.device_config, decision, confidences)
    return scored, CalibrationRecord.of(confidences)


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
