"""The completed runs below a folder, as methods: one recipe, protocol and data set, with all seeds.

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
    """A group of images of a summary ('lesion', 'all', a class or a region), and the policy for empty ground truth.

    `region` is set if the group is one of several regions.
    """

    group: str = "lesion"
    policy: EmptyTruthPolicy | None = None
    region: str | None = None


@dataclass(frozen=True)
class Run:
    """Result of one training on its own test folds, or on another data set (`tested_on`).

    `recorded` is the record of its scores.csv; None for runs of earlier versions.
    """

    folder: Path
    file: StudyRecord
    tested_on: str
    summary: SummaryRecord
    recorded: ScoresRecord | None = None

    @property
    def base(self) -> str:
        """Name of the recipe without +normal and +seedK."""
        return re.sub(r"\+(normal|seed\d+)(?=$|\+(normal|seed\d+)$)", "", self.file.experiment.name)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Content of scores.csv, always with the column "region".

        Raises:
            DataError: It cannot be read, differs from its record, or lacks images of the summary.
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
        """The group of the summary; None if it has no images."""
        name = selection.region or selection.group
        groups = (one for one in self.summary.groups if one.group == name and one.policy == selection.policy)
        return next((one for one in groups if one.images), None)


@dataclass(frozen=True)
class Method:
    """Runs of one recipe on one data set with one protocol, which only differ in the seed."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run of the first seed."""
        return self.runs[0]

    @property
    def experiment(self) -> Experiment:
        """The settings of the first seed."""
        return self.first.file.experiment

    @property
    def name(self) -> str:
        """Name of the recipe without +normal and +seedK."""
        return self.first.base

    @property
    def protocol(self) -> str:
        """The fold protocol."""
        return self.first.file.protocol

    @property
    def folds_done(self) -> tuple[int, ...]:
        """Folds that are complete for at least one seed."""
        return tuple(sorted({fold for run in self.runs for fold in run.file.folds_done}))

    @property
    def study(self) -> tuple[str, str, str, bool, str, str]:
        """Data set, protocol and folds, which must be equal for two methods to be compared."""
        file = self.first.file
        normal = file.experiment.data.include_normal
        return (file.dataset, file.dataset_digest, self.first.tested_on, normal, file.protocol, _folds(file))

    @property
    def normals(self) -> NormalImagesRecord:
        """False positives of the first seed on normal images."""
        return self.first.summary.normal_images

    @property
    def seconds_per_fold(self) -> float | None:
        """Mean training time per fold, including mining if the run did it; None if unknown."""
        known = [
            run.file.wall_seconds / len(run.file.folds_done)
            for run in self.runs
            if run.file.wall_seconds is not None and run.file.folds_done
        ]
        return fmean(known) if known else None

    @property
    def inference_seconds(self) -> float | None:
        """Median over seeds of the inference time per image; None if unknown."""
        known = [s for run in self.runs if (s := run.file.inference_seconds_per_image) is not None]
        return median(known) if known else None

    def images(self, selection: Selection) -> int:
        """Number of images of the first seed."""
        group = self.first.group(selection)
        return group.images if group else 0

    def score(self, selection: Selection, name: str, size: ImageSize = "network") -> ScoreRecord:
        """Mean and sample standard deviation over folds of the fold means, which are means over seeds."""
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
        """The score `column` of each image by key, without NaN; the mean over seeds or over networks of folds."""
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
    """All methods below `folder`, on their own and on other data sets; raises DataError with all damaged files."""
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
    """Group runs that only differ in the seed into methods, in the order of their first runs.

    Raises:
        DataError: Two runs have the same recipe and seed, e.g. in a copied folder.
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
