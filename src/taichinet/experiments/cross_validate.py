"""A recipe over folds: data and folds once, a run folder a fold, a summary over all that are done.

OUT/folds/<dataset>-<protocol>-...json            the fold plan, written once, verified by every later run
OUT/prepared/<identity>.safetensors               the images and masks at network size, shared by all runs
OUT/mining/<identity>/                            easy and hard regions, shared by all runs of the same training part
OUT/<dataset>/<recipe>/<protocol>/fold-<k>/       one run folder a fold (see run.py)
OUT/<dataset>/<recipe>/<protocol>/{scores.csv,summary.json}
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from taichinet.datasets.folds import FoldPlan
from taichinet.errors import FoldError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.experiments.experiment import Experiment, describe_changes, setting_changes
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.fold_result import FoldResult, read_fold
from taichinet.experiments.longer import EPOCHS, find_extension
from taichinet.experiments.records import SCORES_FILE, write_scores
from taichinet.experiments.run import OnEpoch, run_fold
from taichinet.experiments.study_data import StudyData, fitted_to, study_folder, teacher_folder
from taichinet.storage.atomic import replacing_all, write_json

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
            (job.folder / "result.json").unlink(missing_ok=True)
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
    results = [read_fold(path.parent) for path in sorted(folder.glob("fold-*/result.json"))]
    if not results:
        raise FoldError(f"No finished fold in {folder}. Train one first.")
    first = results[0].result
    for other in results[1:]:
        for key in ("experiment", "dataset_digest", "protocol", "folds", "fold_seed"):
            if comparable(key, other.result[key]) != comparable(key, first[key]):
                raise FoldError(
                    f"{results[0].folder} and {other.folder} differ in '{key}' and cannot be summarised together. "
                    "Train the one that is out of date with --overwrite."
                )
    scores = pd.concat([result.scores for result in results], ignore_index=True)
    summary = aggregate(scores)
    content: dict[str, Any] = {
        **{key: first[key] for key in ("experiment", "dataset", "dataset_digest", "protocol", "folds", "fold_seed")},
        "folds_done": [result.result["fold"] for result in results],
        **{key: first.get(key) for key in ("parameters", "gflops", "placement", "commit", "machine")},
        "wall_seconds": round(sum(result.result["wall_seconds"] for result in results), 1),
        "inference_seconds_per_image": _median_known(result.result for result in results),
        "per_fold": [
            {key: result.result[key] for key in ("fold", "wall_seconds", "images", "selection", "mining", "commit")}
            for result in results
        ],
        "outputs": _dice_of_outputs(scores),
        "summary": summary.to_json_dict(),
    }
    with replacing_all(folder) as temporary:
        content["scores"] = write_scores(temporary / SCORES_FILE, scores.round(6)).model_dump()
        write_json(temporary / "summary.json", content)
    return Study(folder, tuple(results), scores, summary)


def refuse_other_study(folder: Path, experiment: Experiment, plan: FoldPlan, extended: Container[Path] = ()) -> None:
    """FoldError, before hours of training, where a finished fold of `folder` could not be summarised with new ones.

    Folds in the folders `extended` are about to be trained for longer.
    """
    own = {
        "experiment": experiment.model_dump(mode="json"),
        "dataset_digest": plan.digest,
        "protocol": plan.protocol,
        "folds": plan.count,
        "fold_seed": plan.seed,
    }
    for path in sorted(folder.glob("fold-*/result.json")):
        if path.parent in extended:
            continue
        other = read_fold(path.parent).result
        different = [key for key, value in own.items() if comparable(key, other.get(key)) != value]
        if different:
            theirs = comparable("experiment", other.get("experiment"))
            mine = experiment.model_dump(mode="json")
            changes = setting_changes(theirs, mine) if isinstance(theirs, dict) else {}
            told = f" ({describe_changes(changes)})" if changes else ""
            longer = " To extend all folds, leave --fold out." if set(changes) == {EPOCHS} else ""
            raise FoldError(
                f"{path.parent} was trained with another {' and '.join(different)} than asked for now{told}. Give "
                "another --out, or a name of its own (--set name=...), or train all folds again with --overwrite."
                f"{longer}"
            )


def comparable(key: str, value: Any) -> Any:
    """`value` of a result; an experiment from before a setting existed has that setting's default."""
    if key != "experiment" or not isinstance(value, dict):
        return value
    try:
        return Experiment.model_validate(value).model_dump(mode="json")
    except ValidationError:  # a network or setting that no longer exists is different from all that do
        return value


def _dice_of_outputs(scores: pd.DataFrame) -> dict[str, float]:
    """Mean over folds of the lesion images' Dice, for each output of a two-path network; empty for one path."""
    lesions = scores[scores["true_pixels"] > 0]
    names = ("positive", "second_path", "mean")
    return {
        name: round(float(lesions.groupby("fold")[f"{name}_dice"].mean().mean()), 6)
        for name in names
        if f"{name}_dice" in scores
    }


def _median_known(results: Iterable[dict[str, Any]]) -> float | None:
    """Of the folds' inference times; None where every fold is older than their measurement."""
    key = "inference_seconds_per_image"
    known = [float(result[key]) for result in results if result.get(key) is not None]
    return median(known) if known else None


def _has_work(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("result.json", "checkpoint.pt", "history.csv"))
