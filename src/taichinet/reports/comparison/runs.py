"""The finished runs below a folder, as methods: one recipe under one protocol on one data set, its seeds together.

RUNS/DATASET/RECIPE/PROTOCOL/{summary.json, scores.csv}            what `train` leaves
RUNS/DATASET/RECIPE/PROTOCOL/on-OTHER/{summary.json, scores.csv}   the same weights on another data set
A RECIPE may end in `+normal` (BUSI with its normal images) and `+seed<k>` (another seed of the same recipe).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median, stdev

import pandas as pd

from taichinet.errors import DataError
from taichinet.evaluation.undefined import EmptyTruthPolicy, ImageSize, empty_ground_truth, resolve_undefined_scores
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.identity import recipe_settings
from taichinet.experiments.records import (
    SCORES_FILE,
    SUMMARY_FILE,
    EvaluationRecord,
    GroupRecord,
    NormalImagesRecord,
    ScoreRecord,
    ScoresRecord,
    StudyRecord,
    SummaryRecord,
    read_record,
    read_scores,
)
from taichinet.reports.summaries import find_summaries

FOREIGN = "on-"


@dataclass(frozen=True)
class Selection:
    """Which images, and what an empty truth counts: a group of a summary ('lesion', 'all', a class, a region).

    `region` where the group is a region of several, None otherwise.
    """

    group: str = "lesion"
    policy: EmptyTruthPolicy | None = None
    region: str | None = None


@dataclass(frozen=True)
class Run:
    """One training's result on the images of one data set: its own test folds, or those of `tested_on`.

    `recorded` is what the summary records of its scores.csv; None for a run from before that was recorded.
    """

    folder: Path
    file: StudyRecord
    tested_on: str
    summary: SummaryRecord
    recorded: ScoresRecord | None = None

    @property
    def base(self) -> str:
        """The recipe's name without what tells a seed or the normal images."""
        return re.sub(r"\+(normal|seed\d+)(?=$|\+(normal|seed\d+)$)", "", self.file.experiment.name)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Its scores.csv; a table of one region has the column too.

        Raises DataError where it cannot be read, is not the recorded one, or lacks images of the summary.
        """
        path = self.folder / SCORES_FILE
        rows = read_scores(path, self.recorded)
        summarised = max((group.images for group in self.summary.groups if group.group == "all"), default=0)
        if (found := rows["key"].nunique()) != summarised:
            raise DataError(
                f"{path} has scores of {found} images, the {SUMMARY_FILE} beside it of {summarised}. Restore the file, "
                "or evaluate the run again."
            )
        return rows if "region" in rows else rows.assign(region="lesion")

    def group(self, selection: Selection) -> GroupRecord | None:
        """The group of its summary, None where the run has no such images."""
        name = selection.region or selection.group
        groups = (one for one in self.summary.groups if one.group == name and one.policy == selection.policy)
        return next((one for one in groups if one.images), None)


@dataclass(frozen=True)
class Method:
    """The runs of one recipe that differ by their seed alone, same data, same protocol."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """Whose settings are those of all but for the seed."""
        return self.runs[0]

    @property
    def experiment(self) -> Experiment:
        """The settings of the first seed."""
        return self.first.file.experiment

    @property
    def name(self) -> str:
        """The recipe's name, seeds and variants left out."""
        return self.first.base

    @property
    def protocol(self) -> str:
        """How the folds were drawn."""
        return self.first.file.protocol

    @property
    def folds_done(self) -> tuple[int, ...]:
        """Folds that at least one seed has finished."""
        return tuple(sorted({fold for run in self.runs for fold in run.file.folds_done}))

    @property
    def study(self) -> tuple[str, str, str, bool, str, str]:
        """What two methods must share to be compared."""
        file = self.first.file
        normal = file.experiment.data.include_normal
        return (file.dataset, file.dataset_digest, self.first.tested_on, normal, file.protocol, _folds(file))

    @property
    def normals(self) -> NormalImagesRecord:
        """What the first seed found in normal images."""
        return self.first.summary.normal_images

    @property
    def seconds_per_fold(self) -> float | None:
        """Mean training time of a fold, mining included where the run did it itself; None where it is not known."""
        known = [
            run.file.wall_seconds / len(run.file.folds_done)
            for run in self.runs
            if run.file.wall_seconds is not None and run.file.folds_done
        ]
        return fmean(known) if known else None

    @property
    def inference_seconds(self) -> float | None:
        """Median over seeds of the time for an image; None where no run measured it."""
        known = [s for run in self.runs if (s := run.file.inference_seconds_per_image) is not None]
        return median(known) if known else None

    def images(self, selection: Selection) -> int:
        """Images of the first seed."""
        group = self.first.group(selection)
        return group.images if group else 0

    def score(self, selection: Selection, name: str, size: ImageSize = "network") -> ScoreRecord:
        """Mean and sample deviation over folds of the fold's mean, which is the mean over seeds."""
        groups = [group for run in self.runs if (group := run.group(selection)) is not None]
        if not groups:
            return ScoreRecord(mean=None, std=None)
        if len(groups) == 1:
            return groups[0].score(name, size)
        by_fold: dict[int, list[float]] = {}
        for group in groups:
            for fold, mean in group.score(name, size).per_fold.items():
                if mean is not None:
                    by_fold.setdefault(fold, []).append(mean)
        means = {fold: fmean(by_fold[fold]) for fold in sorted(by_fold)}
        values = list(means.values())
        return ScoreRecord(
            mean=fmean(values) if values else None,
            std=stdev(values) if len(values) > 1 else None,
            per_fold=dict(means),
        )

    def per_image(self, selection: Selection, column: str = "dice") -> pd.Series[float]:
        """The score `column` of every image by key, without NaN; the mean over seeds, or over the weights of folds."""
        parts = []
        for run in self.runs:
            rows = run.rows
            region = selection.region or rows["region"].iloc[0]
            rows = rows[rows["region"] == region].reset_index(drop=True)
            if selection.policy is None:
                rows = rows[~empty_ground_truth(rows)]
            if selection.region is None and selection.group not in ("lesion", "all"):
                rows = rows[rows["label"] == selection.group]
            scores = resolve_undefined_scores(rows, column, selection.policy)
            parts.append(pd.Series(scores.to_numpy(), index=rows["key"].to_numpy()))
        series: pd.Series[float] = pd.concat(parts).groupby(level=0).mean()
        return series


def read_methods(folder: Path) -> list[Method]:
    """Every method below `folder`, on its own data set and on others; DataError names every torn file."""
    runs: list[Run] = []
    problems: list[str] = []
    for path, file in find_summaries(folder).items():
        runs.append(Run(path.parent, file, file.dataset, file.summary, file.scores))
        for foreign in sorted(path.parent.glob(f"{FOREIGN}*/{SUMMARY_FILE}")):
            try:
                evaluation = read_record(foreign, EvaluationRecord)
            except DataError as error:
                problems.append(str(error))
                continue
            other = evaluation.dataset or foreign.parent.name.removeprefix(FOREIGN)
            runs.append(Run(foreign.parent, file, other, evaluation.summary, evaluation.scores))
    if problems:
        raise DataError(f"{len(problems)} evaluations under '{folder}' cannot be read. Make them again.", problems)
    return pool(runs)


def pool(runs: Sequence[Run]) -> list[Method]:
    """`runs` that differ by their seed alone as one method, in the order of their first run.

    The same recipe and seed found twice (a folder copied into another) is refused: it would count double.
    """
    methods: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        file = run.file
        normal = file.experiment.data.include_normal
        study = (file.dataset, file.dataset_digest, run.tested_on, normal, file.protocol, _folds(file))
        settings = tuple(sorted((key, str(value)) for key, value in recipe_settings(file.experiment).items()))
        methods.setdefault((run.base, *study, settings), []).append(run)
    for members in methods.values():
        seeds: dict[int, Run] = {}
        for run in members:
            twin = seeds.setdefault(run.file.experiment.training.seed, run)
            if twin is not run:
                raise DataError(
                    f"{twin.folder} and {run.folder} hold the same recipe with the same seed. Give a folder that "
                    "holds each run once."
                )
    return [Method(tuple(members)) for members in methods.values()]


def _folds(file: StudyRecord) -> str:
    return f"{file.folds} folds, seed {file.fold_seed}"
