"""A recipe over folds: data and folds once, a run folder a fold, a summary over all that are done.

OUT/folds/<dataset>-<protocol>-...json            the fold plan, written once, verified by every later run
OUT/prepared/<identity>.safetensors               the images and masks at network size, shared by all runs
OUT/mining/<identity>/                            easy and hard regions, shared by all runs of the same training part
OUT/<dataset>/<recipe>/<protocol>/fold-<k>/       one run folder a fold (see run.py)
OUT/<dataset>/<recipe>/<protocol>/{scores.csv,summary.json}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from taichinet.datasets.catalogue import find_dataset, open_dataset
from taichinet.datasets.copies import find_copies
from taichinet.datasets.folds import FoldPlan, Protocol, load_or_make_folds
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.errors import FoldError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.fold_result import FoldResult, read_fold
from taichinet.experiments.records import SCORES_FILE, write_scores
from taichinet.experiments.run import OnEpoch, run_fold
from taichinet.storage.atomic import replacing_all, write_json
from taichinet.storage.lock import locked

Existing = Literal["refuse", "resume", "overwrite"]


@dataclass(frozen=True)
class StudyData:
    """What every fold of a study reads: the samples, their pixels at network size, the fold plan."""

    manifest: Manifest
    prepared: Prepared
    plan: FoldPlan


@dataclass(frozen=True)
class Study:
    """Finished folds of one recipe and protocol, and the summary over them."""

    folder: Path
    folds: tuple[FoldResult, ...]
    scores: pd.DataFrame
    summary: Summary


def open_study_data(experiment: Experiment, data: Path | str, protocol: Protocol, out: Path) -> StudyData:
    """Read the data set at `data` (a path or NAME=PATH), verify or draw its folds under `out`/folds, resize it.

    Near-duplicates are searched only where the fold plan does not exist yet (about half a minute for BUSI).
    """
    manifest, plan = open_folds(experiment, data, protocol, out)
    return StudyData(manifest, prepare(manifest, experiment.data.size, experiment.channels, out / "prepared"), plan)


def open_folds(experiment: Experiment, data: Path | str, protocol: Protocol, out: Path) -> tuple[Manifest, FoldPlan]:
    """The data set at `data` and its folds under `out`/folds, drawn by one process where several ask at once."""
    settings = experiment.data
    manifest = open_dataset(data, include_normal=settings.include_normal)
    dataset = find_dataset(manifest.name)
    content = ("-with-normal" if settings.include_normal else "-lesions") if dataset.has_normal else ""
    folds = "" if protocol == "official" else f"-{settings.folds}folds-seed{settings.fold_seed}"
    path = out / "folds" / f"{manifest.name}{content}-{protocol}{folds}.json"
    with nullcontext() if path.exists() else locked(path.with_suffix(".claim"), wait=True):
        groups = () if path.exists() else find_copies(manifest).groups
        return manifest, load_or_make_folds(path, manifest, groups, protocol, settings.fold_seed, settings.folds)


def fitted_to(experiment: Experiment, manifest: Manifest) -> Experiment:
    """`experiment` with the number of regions that `manifest` has, where its options leave that open."""
    regions = len(manifest.regions)
    if regions == 1 or "num_classes" in experiment.options:
        return experiment
    return vary(experiment, {"options.num_classes": regions})


def study_folder(experiment: Experiment, plan: FoldPlan, out: Path) -> Path:
    """Where the folds of this recipe on this data set under this protocol lie."""
    return out / plan.dataset / experiment.name / plan.protocol


def teacher_folder(experiment: Experiment, folder: Path) -> Path | None:
    """The run folder of the teacher of the fold in `folder`: the same data set, protocol and fold; None without one."""
    if experiment.teacher is None:
        return None
    return folder.parents[2] / experiment.teacher / folder.parent.name / folder.name


def train_folds(
    experiment: Experiment,
    study: StudyData,
    folds: Sequence[int],
    out: Path,
    existing: Existing = "refuse",
    on_fold: Callable[[int], None] = lambda fold: None,
    on_epoch: OnEpoch = lambda phase, row, epochs: None,
) -> Study:
    """Train and score `folds` one after the other, then summarise every fold of the study that is done.

    `existing` says what happens to run folders that are there already: refused (nothing is ever lost by a typing
    error), resumed, or replaced.
    """
    experiment = fitted_to(experiment, study.manifest)
    folder = study_folder(experiment, study.plan, out)
    for fold in folds:
        if existing == "refuse" and _has_work(folder / f"fold-{fold}"):
            raise FoldError(
                f"{folder / f'fold-{fold}'} already holds a training. Add --resume to continue it, --overwrite to "
                "replace it, or give another --out."
            )
    if existing == "overwrite":
        for fold in folds:
            (folder / f"fold-{fold}" / "result.json").unlink(missing_ok=True)
    refuse_other_study(folder, experiment, study.plan)
    for fold in folds:
        on_fold(fold)
        run_fold(
            experiment,
            study.manifest,
            study.prepared,
            study.plan,
            fold,
            folder / f"fold-{fold}",
            out / "mining",
            existing == "resume",
            on_epoch,
            teacher_folder(experiment, folder / f"fold-{fold}"),
        )
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


def refuse_other_study(folder: Path, experiment: Experiment, plan: FoldPlan) -> None:
    """FoldError, before hours of training, where a finished fold of `folder` could not be summarised with new ones."""
    own = {
        "experiment": experiment.model_dump(mode="json"),
        "dataset_digest": plan.digest,
        "protocol": plan.protocol,
        "folds": plan.count,
        "fold_seed": plan.seed,
    }
    for path in sorted(folder.glob("fold-*/result.json")):
        other = read_fold(path.parent).result
        different = [key for key, value in own.items() if comparable(key, other.get(key)) != value]
        if different:
            raise FoldError(
                f"{path.parent} was trained with another {' and '.join(different)} than asked for now. Give another "
                "--out, or a name of its own (--set name=...), or train all folds again with --overwrite."
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
