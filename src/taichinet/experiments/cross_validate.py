"""Train a recipe on several folds and summarise them.

OUT/folds/<dataset>-<protocol>-...json            the fold plan, verified by every later run
OUT/prepared/<identity>.safetensors               images and masks at input resolution, shared by all runs
OUT/mining/<identity>/                            easy and hard pixels, shared by all runs of the same training set
OUT/<dataset>/<recipe>/<protocol>/fold-<k>/       one run folder per fold (see run.py)
OUT/<dataset>/<recipe>/<protocol>/{scores.csv,summary.json}
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import pandas as pd

from taichinet.datasets.folds import FoldPlan
from taichinet.errors import FoldError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.identity import EPOCHS, PATIENCE, STUDY_FIELDS, describe_changes, differences, study_fields
from taichinet.experiments.longer import find_extension
from taichinet.experiments.observer import Observe
from taichinet.experiments.records import (
    RESULT_FILE,
    SCORES_FILE,
    SUMMARY_FILE,
    FoldResult,
    StudyFoldRecord,
    StudyRecord,
    read_fold,
    write_record,
    write_scores,
)
from taichinet.experiments.run import run_fold
from taichinet.experiments.study_data import StudyData, fitted_to, study_folder, teacher_folder
from taichinet.experiments.training_run import OnEpoch, check_initial_weights
from taichinet.storage.atomic import replacing_all

COPIED_FIELDS = ("experiment", "dataset", "parameters", "gflops", "placement", "commit", "machine")
Existing = Literal["refuse", "resume", "overwrite"]


@dataclass(frozen=True)
class Study:
    """Completed folds of one recipe and protocol, and their summary.

    Attributes:
        folder: The study folder.
        folds: The completed folds.
        scores: One row per test image and region: `key`, `fold`, `dice` and the other scores.
        summary: Means and standard deviations over folds.
    """

    folder: Path
    folds: tuple[FoldResult, ...]
    scores: pd.DataFrame
    summary: Summary


@dataclass(frozen=True)
class Callbacks:
    """Functions that `train_folds` calls.

    Attributes:
        on_fold: Called with the index of each fold before its training.
        on_epoch: Called after each epoch, see `run_fold`.
        on_note: Called with a sentence if completed epochs are extended, or trainings start from trained weights.
        observers: Draw or log each training.
    """

    on_fold: Callable[[int], None] = lambda fold: None
    on_epoch: OnEpoch = lambda phase, row, epochs: None
    on_note: Callable[[str], None] = lambda line: None
    observers: tuple[Observe, ...] = ()


def train_folds(
    experiment: Experiment,
    study: StudyData,
    folds: Sequence[int],
    out: Path,
    existing: Existing = "refuse",
    callbacks: Callbacks | None = None,
    keep_checkpoints: bool = False,
) -> Study:
    """Train and score folds one after the other, and summarise all completed folds of the study.

    Args:
        experiment: The recipe.
        study: The data set and its folds.
        folds: Indices of the folds to train.
        out: Folder of all runs.
        existing: Whether to refuse, resume or overwrite existing run folders. If runs are resumed with more epochs,
            either all of `folds` are extended or none.
        callbacks: Functions to call during the training.
        keep_checkpoints: Whether the newest checkpoint of a completed fold is kept, so that it can be extended.

    Returns:
        The completed folds and their summary.

    Raises:
        FoldError: A run folder exists and `existing` is "refuse", or holds a run of other settings, images or folds.
        SettingError, WeightsError, LockedError: As `run_fold`.
    """
    callbacks = callbacks or Callbacks()
    experiment = fitted_to(experiment, study.manifest)
    folder = study_folder(experiment, study.plan, out)
    jobs = []
    for fold in folds:
        run, resume = folder / f"fold-{fold}", existing == "resume"
        given = (teacher_folder(experiment, run), resume, keep_checkpoints, callbacks.observers)
        jobs.append(FoldJob(experiment, study, fold, run, out / "mining", *given))
    for line in check_initial_weights(jobs):
        callbacks.on_note(line)
    _prepare_existing_runs(jobs, folder, existing, callbacks)
    for job in jobs:
        callbacks.on_fold(job.fold)
        run_fold(job, callbacks.on_epoch)
        summarise_study(folder)
    return summarise_study(folder)


def _prepare_existing_runs(jobs: Sequence[FoldJob], folder: Path, existing: Existing, callbacks: Callbacks) -> None:
    """Refuse existing runs, mark them as incomplete to overwrite them, or extend them (`longer.py`)."""
    for job in jobs:
        if existing == "refuse":
            refuse_existing_run(job.folder)
        if existing == "overwrite":
            (job.folder / RESULT_FILE).unlink(missing_ok=True)
    candidates = [find_extension(job) for job in jobs] if existing == "resume" else []
    extensions = [extension for extension in candidates if extension is not None]
    refuse_other_study(folder, jobs[0].experiment, jobs[0].study.plan, {e.job.folder for e in extensions})
    for extension in extensions:
        extension.apply()
    if extensions:
        training = jobs[0].experiment.training
        target = f"{training.epochs} epochs" + (
            f", patience {training.patience}" if any(e.other_patience for e in extensions) else ""
        )
        runs = ", ".join(f"{e.job.folder.name} from {e.finished} of {e.started_with}" for e in extensions)
        longer = any(e.changes_training for e in extensions)
        what = f"Extends the training to {target}" if longer else "Chooses another decision with the weights of"
        callbacks.on_note(f"{what}: {runs}.")


def refuse_existing_run(folder: Path) -> None:
    """Raise FoldError if the run folder of a fold contains a training."""
    if any((folder / name).exists() for name in (RESULT_FILE, "checkpoint.pt", "history.csv")):
        raise FoldError(
            f"{folder} already contains a training. Resume it with --resume, replace it with --overwrite, or give "
            "another --output."
        )


def summarise_study(folder: Path) -> Study:
    """Summarise all completed folds in the study folder, and write scores.csv and summary.json.

    Raises:
        FoldError: No fold is complete, or the folds have different settings and cannot be averaged.
        StorageError: The files cannot be written.
    """
    results = [read_fold(path.parent) for path in sorted(folder.glob(f"fold-*/{RESULT_FILE}"))]
    if not results:
        raise FoldError(f"No finished fold in {folder}. Train a fold first.")
    first = results[0].record
    for other in results[1:]:
        if different := differences(other.record, first.experiment, first.model_dump(include=set(STUDY_FIELDS))):
            names = ", ".join(f"'{name}'" for name in [*different.settings, *different.fields])
            raise FoldError(
                f"{results[0].folder} and {other.folder} differ in {names} and cannot be summarised together. "
                "Train the outdated one again with --overwrite."
            )
    scores = pd.concat([result.scores for result in results], ignore_index=True)
    summary = aggregate(scores)
    records = [result.record for result in results]
    inference_seconds = [s for record in records if (s := record.inference_seconds_per_image) is not None]
    with replacing_all(folder) as temporary:
        study = StudyRecord(
            **{key: getattr(first, key) for key in (*STUDY_FIELDS, *COPIED_FIELDS)},
            folds_done=tuple(record.fold for record in records),
            wall_seconds=round(sum(record.wall_seconds for record in records), 1),
            inference_seconds_per_image=median(inference_seconds) if inference_seconds else None,
            per_fold=tuple(StudyFoldRecord.model_validate(record, from_attributes=True) for record in records),
            outputs=_dice_of_outputs(scores),
            summary=summary,
            scores=write_scores(temporary / SCORES_FILE, scores.round(6)),
        )
        write_record(temporary / SUMMARY_FILE, study)
    return Study(folder, tuple(results), scores, summary)


def refuse_other_study(folder: Path, experiment: Experiment, plan: FoldPlan, extended: Container[Path] = ()) -> None:
    """Raise FoldError if completed folds in the study folder cannot be summarised with new ones of `experiment`.

    The run folders `extended` are not checked, as their training will be extended.
    """
    for path in sorted(folder.glob(f"fold-*/{RESULT_FILE}")):
        if path.parent in extended:
            continue
        different = differences(read_fold(path.parent).record, experiment, study_fields(plan))
        if different:
            names = [*(["experiment"] if different.settings else []), *different.fields]
            changes = f" ({describe_changes(different.settings)})" if different.settings else ""
            hint = (
                " To extend all folds, leave out --fold."
                if {EPOCHS} <= set(different.settings) <= {EPOCHS, PATIENCE}
                else ""
            )
            raise FoldError(
                f"{path.parent} was trained with another {' and '.join(names)} than requested{changes}. Give another "
                f"--output, another name (--set name=...), or train all folds again with --overwrite.{hint}"
            )


def _dice_of_outputs(scores: pd.DataFrame) -> dict[str, float]:
    """Mean Dice of the lesion images over folds, for each output of a two-path network; empty for one path."""
    lesions = scores[scores["true_pixels"] > 0]
    names = ("positive", "second_path", "mean")
    return {
        name: round(float(lesions.groupby("fold")[f"{name}_dice"].mean().mean()), 6)
        for name in names
        if f"{name}_dice" in scores
    }
