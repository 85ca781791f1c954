"""Train one network on all images of a study, for use after cross-validation.

It has no test set, so its scores are those of the folds, and its decision is the mean of theirs. The folder
`all-images`, beside those of the folds, contains experiment.yaml, history.csv, checkpoint.pt, weights/,
seen.safetensors and, last, training.json.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from taichinet.errors import FoldError, SettingError
from taichinet.evaluation.decision import DEFAULT_DECISION, Decision, mean_decision
from taichinet.experiments.cross_validate import Existing
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.fold_job import ALL_IMAGES, FoldJob
from taichinet.experiments.identity import differences, study_fields
from taichinet.experiments.observer import Observe
from taichinet.experiments.provenance import describe_machine
from taichinet.experiments.records import (
    RESULT_FILE,
    TRAINING_FILE,
    FoldResult,
    TrainingRecord,
    read_fold,
    read_record,
    write_record,
)
from taichinet.experiments.study_data import StudyData, fitted_to, study_folder
from taichinet.experiments.training_run import (
    HISTORY_FILE,
    OnEpoch,
    check_initial_weights,
    describe_change,
    prepare_training,
)
from taichinet.models.complexity import measure_complexity
from taichinet.models.weights import load_weights, save_weights
from taichinet.storage.atomic import remove_leftovers
from taichinet.storage.lock import Lock, locked
from taichinet.training.checkpoint import clear_checkpoints
from taichinet.training.fit import fit, refuse_idle_ranks

FOLDER = "all-images"


@dataclass(frozen=True)
class TrainedOnAll:
    """The folder of a network that was trained on all images, and its record."""

    folder: Path
    record: TrainingRecord


def train_on_all_images(
    recipe: Experiment,
    study: StudyData,
    out: Path,
    existing: Existing = "refuse",
    on_epoch: OnEpoch = lambda phase, row, epochs: None,
    on_note: Callable[[str], None] = lambda line: None,
    observers: tuple[Observe, ...] = (),
) -> TrainedOnAll:
    """Train a recipe on all images, without validation set: the weights are those of the last epoch.

    Args:
        recipe: The recipe.
        study: The data set and its folds.
        out: Folder of all runs.
        existing: Whether to refuse, resume or overwrite an existing training. A complete training that is resumed takes
            the decision of the folds that are complete now.
        on_epoch: Called after each epoch, see `run_fold`.
        on_note: Called with a sentence if the training starts from trained weights.
        observers: Draw or log the training.

    Returns:
        The folder and its record.

    Raises:
        FoldError: The folder exists and `existing` is "refuse", or holds a training of other settings or images.
        SettingError: The recipe has a teacher, or its settings do not fit the data set.
        LockedError: Another process works in the folder.
    """
    experiment = fitted_to(recipe, study.manifest)
    if experiment.teacher is not None:
        raise SettingError(
            f"Recipe '{experiment.name}' has the teacher {experiment.teacher}, which is trained on folds only. Train a "
            "recipe without teacher on all images."
        )
    folds = study_folder(experiment, study.plan, out)
    run, resume = folds / FOLDER, existing == "resume"
    job = FoldJob(experiment, study, ALL_IMAGES, run, out / "mining", resume=resume, observers=observers)
    if existing == "refuse" and any((job.folder / name).exists() for name in (TRAINING_FILE, HISTORY_FILE)):
        raise FoldError(
            f"{job.folder} already contains a training. Resume it with --resume, replace it with --overwrite, or give "
            "another --output."
        )
    for line in check_initial_weights([job]):
        on_note(line)
    with locked(job.folder / "lock") as lock:
        remove_leftovers(job.folder)
        refuse_idle_ranks(experiment.training, job.device_config)
        if job.resume and (job.folder / TRAINING_FILE).exists():
            return _with_decision(job, _completed_folds(job))
        (job.folder / TRAINING_FILE).unlink(missing_ok=True)
        return _train(job, lock, on_epoch)


def _train(job: FoldJob, lock: Lock, on_epoch: OnEpoch) -> TrainedOnAll:
    training = prepare_training(job, lock, on_epoch)
    trained = training.finished(fit(*training.arguments))
    experiment, plan, folds = job.experiment, job.study.plan, _completed_folds(job)
    decision = decision_of(folds)
    complexity = measure_complexity(experiment.model, experiment.data.size, **trained.options)
    record = TrainingRecord(
        identity=job.identity,
        experiment=experiment,
        dataset=plan.dataset,
        images=len(job.split.train),
        **study_fields(plan),
        decision=decision,
        decision_folds=tuple(fold.record.fold for fold in folds),
        parameters=complexity.parameters,
        gflops=complexity.gflops,
        placement=job.device_config.describe(),
        wall_seconds=trained.start.seconds(),
        commit=trained.start.commit,
        machine=describe_machine(),
    )
    save_weights(trained.network, trained.weights_config(job, decision), job.folder / "weights")
    trained.observers.completed(trained.network, decision or DEFAULT_DECISION, record)
    write_record(job.folder / TRAINING_FILE, record)
    clear_checkpoints(job.folder)
    return TrainedOnAll(job.folder, record)


def _with_decision(job: FoldJob, folds: list[FoldResult]) -> TrainedOnAll:
    """A complete training with the mean decision of `folds`; its weights are unchanged."""
    record = read_record(job.folder / TRAINING_FILE, TrainingRecord, FoldError, "Delete the folder.")
    if record.identity != job.identity:
        raise FoldError(
            f"{job.folder} was trained with other settings or images{describe_change(job)}. Give another --output, or "
            "replace it with --overwrite instead of --resume."
        )
    decision = decision_of(folds)
    changed = record.model_copy(
        update={"decision": decision, "decision_folds": tuple(fold.record.fold for fold in folds)}
    )
    if changed != record:
        loaded = load_weights(job.folder / "weights")
        stored = None if decision is None else decision.model_dump(mode="json")
        config = replace(loaded.config, decision=stored, threshold=(decision or DEFAULT_DECISION).threshold)
        save_weights(loaded.network, config, job.folder / "weights", torch.float32)
        write_record(job.folder / TRAINING_FILE, changed)
    return TrainedOnAll(job.folder, changed)


def _completed_folds(job: FoldJob) -> list[FoldResult]:
    """The completed folds of the same settings, images and folds, in order."""
    results = [read_fold(path.parent) for path in sorted(job.folder.parent.glob(f"fold-*/{RESULT_FILE}"))]
    wanted = study_fields(job.study.plan)
    same = [result for result in results if not differences(result.record, job.experiment, wanted)]
    return sorted(same, key=lambda result: result.record.fold)


def decision_of(folds: Sequence[FoldResult]) -> Decision | None:
    """The mean of the decisions that the folds chose on their validation images; None if none chose one."""
    chosen = [fold.record.decision.decision for fold in folds if fold.record.decision is not None]
    return mean_decision(chosen) if chosen else None
