"""Run folders as trainings write them, from per-image rows written by hand, without training a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from taichinet.evaluation.aggregate import aggregate
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import FoldRecord

Rows = Sequence[Mapping[Any, object]]


def recipe(name: str, /, **changes: object) -> Experiment:
    """The recipe, with the settings `changes` (`training__epochs=2`)."""
    return vary(get_recipe(name), {key.replace("__", "."): value for key, value in changes.items()})


def write_run(
    root: Path, experiment: Experiment, rows: Rows, protocol: str = "grouped", dataset: str = "busi", **changes: Any
) -> Path:
    """Write summary.json and scores.csv of `rows`, and return the study folder of `experiment`."""
    frame = pd.DataFrame(list(rows))
    folds = sorted(int(fold) for fold in frame["fold"].unique())
    folder = root / dataset / experiment.name / protocol
    content = {
        "experiment": experiment.model_dump(mode="json"),
        "dataset": dataset,
        "dataset_digest": f"digest of {dataset}",
        "protocol": protocol,
        "folds": 1 if protocol == "official" else 5,
        "folds_done": folds,
        "fold_seed": 0,
        "parameters": 4_587_204,
        "gflops": 4.16,
        "placement": "cpu float32 channels-last",
        "wall_seconds": 600.0 * len(folds),
        "inference_seconds_per_image": 0.0125,
        "commit": "3f2c1a9be012",
        "machine": {"processor": "A Processor", "cores": 2, "memory_gib": 8, "torch": "2.14.1"},
    } | changes
    return _write(folder, content, frame)


def fold_record(experiment: Experiment, rows: Rows, **changes: Any) -> FoldRecord:
    """The record of fold 0 with the scores `rows`."""
    content = {
        "identity": "0123456789abcdef",
        "experiment": experiment,
        "dataset": "busi",
        "dataset_digest": "digest of busi",
        "protocol": "grouped",
        "fold": 0,
        "folds": 5,
        "fold_seed": 0,
        "images": {"train": 2, "validation": 1, "test": 1},
        "selection": {"rule": "last", "on": "nothing", "epoch": 1},
        "parameters": 1000,
        "placement": "cpu float32 channels-last",
        "wall_seconds": 60.0,
        "commit": None,
        "summary": aggregate(pd.DataFrame(list(rows))).model_dump(mode="json"),
    }
    return FoldRecord.model_validate(content | changes)


def write_evaluation(folder: Path, other: str, rows: Rows) -> Path:
    """Write an evaluation of the study in `folder` on the data set `other`, and return its folder."""
    return _write(
        folder / f"on-{other}", {"dataset": other, "networks": [], "note": "Scored."}, pd.DataFrame(list(rows))
    )


def write_plan(
    root: Path,
    fold_of: dict[str, int],
    groups: Sequence[Sequence[str]],
    protocol: str = "grouped",
    dataset: str = "busi",
) -> Path:
    """Write a fold plan beside the runs; a fold without an image gets one, since a valid plan has no empty fold."""
    others = {f"other {fold}": fold for fold in range(5) if fold not in fold_of.values()}
    plan = {
        "dataset": dataset,
        "digest": f"digest of {dataset}",
        "protocol": protocol,
        "seed": 0,
        "count": 5,
        "groups": [list(group) for group in groups],
        "fold_of": {**fold_of, **others},
        "validation": [],
    }
    path = root / "folds" / f"{dataset}-{protocol}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


def _write(folder: Path, content: dict[str, Any], frame: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {**content, "summary": aggregate(frame, repeated=True).model_dump(mode="json")}
    (folder / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    frame.to_csv(folder / "scores.csv", index=False)
    return folder
