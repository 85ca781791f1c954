"""A recipe over folds: data and folds once, a run folder a fold, a summary over all that are done.

OUT/folds/<dataset>-<protocol>-...json            the fold plan, written once, verified by every later run
OUT/prepared/<identity>.safetensors               the images and masks at network size, shared by all runs
OUT/mining/<identity>/                            easy and hard regions, shared by all runs of the same training part
OUT/<dataset>/<recipe>/<protocol>/fold-<k>/       one run folder a fold (see run.py)
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
from taichinet.experiments.identity import EPOCHS, STUDY_FIELDS, describe_changes, differences, study_fields
from taichinet.experiments.longer import find_extension
from taichinet.experiments.records import (
    RESULT_FILE,
    SCORES_FILE,
    SUMMARY_FILE,
    FoldResult,
    StudyFoldRecord,
    StudyRecord,
    SummaryRecord,
    read_fold,
    write_record,
    write_scores,
)
from taichinet.experiments.run import OnEpoch, run_fold
from taichinet.experiments.study_data import StudyData, fitted_to, study_folder, teacher_folder
from taichinet.storage.atomic import replacing_all

COPIED_FIELDS = ("experiment", "dataset", "parameters", "gflops", "placement", "commit", "machine")
Existing = Literal["refuse", "resume", "overwrite"]


@dataclass(frozen=True)
class Study:
    """Finished folds of one recipe and protocol, and the summary over them."""

    folder: Path
    folds: tuple[FoldResult, ...]
    scores: pd.DataFrame
    summary: Summary


def train_folds(
    experiment: Experiment,
    study: StudyData,
    folds: Sequence[int],
    out: Path,
    existing: Existing = "refuse",
    on_fold: Callable[[int], None] = lambda fold: None,
    on_epoch: OnEpoch = lambda phase, row, epochs: None,
    on_longer: Callable[[str], None] = lambda line: None,
    keep_checkpoints: bool = False,
) -> Study:
    """Train and score `folds` one after the other, then summarise every fold of the study that is done.

    `existing` says what happens to run folders that are there already: refused (nothing is ever lost by a typing
    error), resumed, or replaced. Resumed with more epochs they are extended, all or none of `folds`, and `on_longer` is
    called with the line that says so; finished folds can be extended if `keep_checkpoints` was true.
    """
    experiment = fitted_to(experiment, study.manifest)
    folder = study_folder(experiment, study.plan, out)
    jobs = [
        FoldJob(
            experiment,
            study,
            fold,
            run := folder / f"fold-{fold}",
            out / "mining",
            teacher_folder(experiment, run),
            resume=existing == "resume",
            keep_checkpoint=keep_checkpoints,
        )
        for fold in folds
    ]
    for job in jobs:
        if existing == "refuse" and _has_work(job.folder):
            raise FoldError(
                f"{job.folder} holds a training already. Resume it with --resume, replace it with --overwrite, or give "
                "another --out."
            )
        if existing == "overwrite":
            (job.folder / RESULT_FILE).unlink(missing_ok=True)
    extensions = [found for job in jobs if existing == "resume" and (found := find_extension(job)) is not None]
    refuse_other_study(folder, experiment, study.plan, {extension.job.folder for extension in extensions})
    for extension in extensions:
        extension.apply()
    if extensions:
        runs = ", ".join(f"{one.job.folder.name} from {one.finished} of {one.started_with}" for one in extensions)
        on_longer(f"Extends the training to {experiment.training.epochs} epochs: {runs}.")
    for job in jobs:
        on_fold(job.fold)
        run_fold(job, on_epoch)
        summarise_study(folder)
    return summarise_study(folder)


def summarise_study(folder: Path) -> Study:
    """Read every finished fold below `folder`; write scores.csv and summary.json there.

    Raises FoldError where no fold is finished, or where folds were made with different settings: their mean would
    mean nothing.
    """
    results = [read_fold(path.parent) for path in sorted(folder.glob(f"fold-*/{RESULT_FILE}"))]
    if not results:
        raise FoldError(f"No finished fold in {folder}. Train one first.")
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
            per_fold=tuple(
                StudyFoldRecord(**{key: getattr(record, key) for key in StudyFoldRecord.model_fields})
                for record in records
            ),
            outputs=_dice_of_outputs(scores),
            summary=SummaryRecord.of(summary),
            scores=write_scores(temporary / SCORES_FILE, scores.round(6)),
        )
        write_record(temporary / SUMMARY_FILE, study)
    return Study(folder, tuple(results), scores, summary)


def refuse_other_study(folder: Path, experiment: Experiment, plan: FoldPlan, extended: Container[Path] = ()) -> None:
    """FoldError, before hours of training, where a finished fold of `folder` could not be summarised with new ones.

    Folds in the folders `extended` are about to be trained for longer.
    """
    for path in sorted(folder.glob(f"fold-*/{RESULT_FILE}")):
        if path.parent in extended:
            continue
        different = differences(read_fold(path.parent).record, experiment, study_fields(plan))
        if different:
            names = [*(["experiment"] if different.settings else []), *different.fields]
            changes = f" ({describe_changes(different.settings)})" if different.settings else ""
            hint = " To extend all folds, leave out --fold." if set(different.settings) == {EPOCHS} else ""
            raise FoldError(
                f"{path.parent} was trained with another {' and '.join(names)} than requested{changes}. Give another "
                f"--out, another name (--set name=...), or train all folds again with --overwrite.{hint}"
            )


def _dice_of_outputs(scores: pd.DataFrame) -> dict[str, float]:
    """Mean over folds of the lesion images' Dice, for each output of a two-path network; empty for one path."""
    lesions = scores[scores["true_pixels"] > 0]
    names = ("positive", "second_path", "mean")
    return {
        name: round(float(lesions.groupby("fold")[f"{name}_dice"].mean().mean()), 6)
        for name in names
        if f"{name}_dice" in scores
    }


def _has_work(folder: Path) -> bool:
    return any((folder / name).exists() for name in (RESULT_FILE, "checkpoint.pt", "history.csv"))
