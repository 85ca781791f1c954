"""Completed runs as methods: a method is one recipe under one protocol on one data set, with all of its seeds.

RUNS/DATASET/RECIPE/PROTOCOL/{summary.json, scores.csv}            written by `train`
RUNS/DATASET/RECIPE/PROTOCOL/on-OTHER/{summary.json, scores.csv}   the same weights on another data set
RUNS/DATASET/RECIPE/PROTOCOL/all-images/training.json              a network that was trained on all images
A RECIPE may end in `+normal` (BUSI with its normal images) and `+seed<k>` (another seed of the same recipe).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median, stdev

import pandas as pd

from taichinet.datasets.folds import FoldPlan, read_folds
from taichinet.errors import DataError
from taichinet.evaluation.aggregate import FoldScore, GroupScores, Summary
from taichinet.evaluation.detection_summary import Detection, summarise_detection
from taichinet.evaluation.undefined import ImageSize
from taichinet.experiments.all_images import FOLDER
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.identity import STUDY_FIELDS, differences, recipe_settings
from taichinet.experiments.records import (
    SCORES_FILE,
    SUMMARY_FILE,
    TRAINING_FILE,
    EvaluationRecord,
    ScoresRecord,
    StudyRecord,
    TrainingRecord,
    is_evaluation,
    parse_record,
    read_record,
    read_scores,
)
from taichinet.groups import cluster_numbers
from taichinet.reports.paper_tables.tested import Selection, Tested
from taichinet.storage.documents import read_json

FOREIGN = "on-"


def base_name(recipe: str) -> str:
    """The name of a recipe without `+normal` and `+seed<k>`."""
    return re.sub(r"\+(normal|seed\d+)(?=$|\+(normal|seed\d+)$)", "", recipe)


@dataclass(frozen=True)
class Run:
    """The results of one training on its own test folds, or on the data set `tested_on`.

    `recorded` is the record of scores.csv in summary.json; None for runs older than this record. `images_digest` is
    that of the data set `tested_on`; empty if it was not recorded.
    """

    folder: Path
    file: StudyRecord
    tested_on: str
    summary: Summary
    recorded: ScoresRecord | None = None
    images_digest: str = ""

    @property
    def base(self) -> str:
        """The name of the recipe without `+normal` and `+seed<k>`."""
        return base_name(self.file.experiment.name)

    @property
    def study(self) -> tuple[object, ...]:
        """Equal for runs that can be compared: data set and its images, normal images, protocol, folds."""
        file = self.file
        normal = file.experiment.data.include_normal
        data = (file.dataset, file.dataset_digest, self.tested_on, normal)
        return (*data, file.protocol, file.folds, file.fold_seed)

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """The settings that runs of one recipe share."""
        return tuple(sorted((key, str(value)) for key, value in recipe_settings(self.file.experiment).items()))

    @cached_property
    def rows(self) -> pd.DataFrame:
        """scores.csv, always with the column "region".

        Raises:
            DataError: The file cannot be read, differs from its record, or lacks images of the summary.
        """
        return read_summarised_scores(self.folder, self.summary, self.recorded)

    def group(self, selection: Selection) -> GroupScores | None:
        """The group of the summary; None without such images."""
        name = selection.region or selection.group
        groups = (group for group in self.summary.groups if group.group == name and group.policy == selection.policy)
        return next((group for group in groups if group.images), None)


def read_summarised_scores(folder: Path, summary: Summary, recorded: ScoresRecord | None) -> pd.DataFrame:
    """scores.csv in `folder`, always with the column "region".

    Raises:
        DataError: The file cannot be read, differs from its record, or lacks images of the summary.
    """
    path = folder / SCORES_FILE
    rows = read_scores(path, recorded)
    summarised = max((group.images for group in summary.groups if group.group == "all"), default=0)
    if (images := rows["key"].nunique()) != summarised:
        raise DataError(
            f"{path} has scores of {images} images, but {SUMMARY_FILE} has {summarised}. Restore the file, "
            "or evaluate the run again."
        )
    return rows if "region" in rows else rows.assign(region="lesion")


@dataclass(frozen=True)
class Method(Tested):
    """Runs that differ only in their seed."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The first run."""
        return self.runs[0]

    @property
    def file(self) -> StudyRecord:
        """The summary of the training of the first run."""
        return self.first.file

    @property
    def experiment(self) -> Experiment:
        """The settings of the first run."""
        return self.file.experiment

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.first.base

    @property
    def folder(self) -> Path:
        """Folder of the scores of the first run."""
        return self.first.folder

    @property
    def trained_on(self) -> str:
        """Name of the data set of the training."""
        return self.file.dataset

    @property
    def tested_on(self) -> str:
        """Name of the data set of the scores."""
        return self.first.tested_on

    @property
    def protocol(self) -> str:
        """Fold protocol of the training."""
        return self.file.protocol

    @property
    def images_digest(self) -> str:
        """Digest of the images of the data set of the scores; empty if it was not recorded."""
        return self.first.images_digest

    @property
    def tables(self) -> tuple[pd.DataFrame, ...]:
        """scores.csv of each seed."""
        return tuple(run.rows for run in self.runs)

    @property
    def own_data(self) -> bool:
        """Whether it was tested on the data set of its training."""
        return self.first.tested_on == self.file.dataset

    @property
    def folds_done(self) -> tuple[int, ...]:
        """Folds that at least one seed has completed."""
        return tuple(sorted({fold for run in self.runs for fold in run.file.folds_done}))

    @property
    def seconds_per_fold(self) -> float | None:
        """Mean training time per fold, with mining if the run did it; None if unknown."""
        files = [run.file for run in self.runs if run.file.folds_done]
        known = [file.wall_seconds / len(file.folds_done) for file in files if file.wall_seconds is not None]
        return fmean(known) if known else None

    @property
    def inference_seconds(self) -> float | None:
        """Median over seeds of the time per image; None if it was not measured."""
        known = [s for run in self.runs if (s := run.file.inference_seconds_per_image) is not None]
        return median(known) if known else None

    @property
    def detection(self) -> Detection | None:
        """Detection of the first region over all seeds; None if a run was made before it was recorded."""
        if any(run.summary.detection is None for run in self.runs):
            return None
        if len(self.runs) == 1:
            return self.first.summary.detection
        region = self.first.rows["region"].iloc[0]
        rows = pd.concat([run.rows for run in self.runs], ignore_index=True)
        return summarise_detection(rows[rows["region"] == region])

    def images(self, selection: Selection) -> int:
        """Number of images of the first run."""
        group = self.first.group(selection)
        return group.images if group else 0

    def score(self, selection: Selection, name: str, size: ImageSize = "network") -> FoldScore:
        """Mean and sample standard deviation over folds; the value of a fold is the mean over seeds."""
        scores = [group.score(name, size) for run in self.runs if (group := run.group(selection)) is not None]
        if len(scores) < 2:
            return scores[0] if scores else FoldScore(mean=None, std=None)
        by_fold: dict[int, list[float]] = {}
        for score in scores:
            for fold, mean in score.per_fold.items():
                by_fold.setdefault(fold, []).extend([] if mean is None else [mean])
        means = {fold: fmean(by_fold[fold]) for fold in sorted(by_fold) if by_fold[fold]}
        values = list(means.values())
        std = stdev(values) if len(values) > 1 else None
        return FoldScore(mean=fmean(values) if values else None, std=std, per_fold=dict(means))


def find_summaries(folder: Path) -> dict[Path, StudyRecord]:
    """Read every summary.json of a training below a folder; those of evaluations are skipped.

    Args:
        folder: A folder of runs.

    Returns:
        The records by path, sorted by data set, normal images, protocol and recipe.

    Raises:
        DataError: There is no folder or no summary, or files cannot be read; all of these are listed.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Give the --output folder of `taichinet train`.")
    paths = sorted(folder.rglob(SUMMARY_FILE))
    studies: dict[Path, StudyRecord] = {}
    problems: list[str] = []
    for path in paths:
        try:
            content = read_json(path)
            if not is_evaluation(content):
                studies[path] = parse_record(content, StudyRecord, path)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(
            f"{len(problems)} of {len(paths)} summaries under '{folder}' cannot be read. Train their recipes "
            "again with --resume, which rewrites the summary, or move them away.",
            problems,
        )
    if not studies:
        raise DataError(
            f"No {SUMMARY_FILE} of a training under '{folder}'. Give the --output folder of `taichinet train`."
        )

    def order(study: StudyRecord) -> tuple[str, bool, str, str]:
        return (study.dataset, study.experiment.data.include_normal, study.protocol, study.experiment.name)

    return dict(sorted(studies.items(), key=lambda item: order(item[1])))


def find_trained_on_all(studies: Mapping[Path, StudyRecord]) -> list[TrainingRecord]:
    """Read the complete trainings on all images beside the summaries.

    Args:
        studies: Summaries by path, see `find_summaries`.

    Returns:
        The records in the order of the summaries. Trainings with other settings or images than their folds are left
            out, as the scores of the folds are not those of their recipe.

    Raises:
        DataError: A record cannot be read.
    """
    records = []
    for summary, study in studies.items():
        path = summary.parent / FOLDER / TRAINING_FILE
        if not path.is_file():
            continue
        record = read_record(path, TrainingRecord, remedy="Train it again with --all-images --overwrite.")
        if not differences(study, record.experiment, {name: getattr(record, name) for name in STUDY_FIELDS}):
            records.append(record)
    return records


def read_methods(*folders: Path) -> list[Method]:
    """Read all methods below `folders`, on their own data set and on others.

    Raises:
        DataError: Files cannot be read (all are listed), or a recipe and seed occur twice.
    """
    return pool([run for folder in folders for run in _read_runs(folder)])


def _read_runs(folder: Path) -> list[Run]:
    runs: list[Run] = []
    problems: list[str] = []
    for path, file in find_summaries(folder).items():
        runs.append(Run(path.parent, file, file.dataset, file.summary, file.scores, file.dataset_digest))
        for foreign in sorted(path.parent.glob(f"{FOREIGN}*/{SUMMARY_FILE}")):
            try:
                record = read_record(foreign, EvaluationRecord)
            except DataError as error:
                problems.append(str(error))
                continue
            other = record.dataset or foreign.parent.name.removeprefix(FOREIGN)
            runs.append(Run(foreign.parent, file, other, record.summary, record.scores, record.dataset_digest))
    if problems:
        raise DataError(f"{len(problems)} evaluations under '{folder}' cannot be read. Make them again.", problems)
    return runs


def pool(runs: Sequence[Run]) -> list[Method]:
    """Return runs that differ only in their seed as one method, in the order of their first run.

    Raises:
        DataError: A recipe and seed occur twice, as in a folder copied into another: the run would count twice.
    """
    methods: dict[tuple[object, ...], dict[int, Run]] = {}
    for run in runs:
        seeds = methods.setdefault((run.base, run.study, run.settings), {})
        twin = seeds.setdefault(run.file.experiment.training.seed, run)
        if twin is not run:
            raise DataError(
                f"{twin.folder} and {run.folder} contain the same recipe with the same seed. Give a folder that "
                "contains each run once."
            )
    return [Method(tuple(seeds.values())) for seeds in methods.values()]


@dataclass(frozen=True)
class KnownGroups:
    """Near-duplicates and images of one patient, from all fold plans below a folder of runs."""

    plans: tuple[FoldPlan, ...]

    def known(self, dataset: str) -> bool:
        """Whether a plan lists the groups of `dataset`."""
        return any(plan.dataset == dataset for plan in self.plans)

    def clusters(self, dataset: str, keys: Sequence[str]) -> list[int]:
        """The cluster number of each key, from all plans of the data set; without a plan all are different."""
        groups = {group for plan in self.plans if plan.dataset == dataset for group in plan.groups}
        return cluster_numbers(keys, sorted(groups))

    def leaking(self, digest: str, protocol: str, count: int, seed: int, folds: Sequence[int]) -> int | None:
        """Number of images tested in `folds` with another image of their group in another fold; None without plan."""
        wanted = (digest, protocol, count, seed)
        plan = next((p for p in self.plans if (p.digest, p.protocol, p.count, p.seed) == wanted), None)
        if plan is None:
            return None
        group_of = {key: group for group in plan.groups for key in group}
        return sum(
            any(plan.fold_of.get(other, fold) != fold for other in group_of.get(key, ()))
            for key, fold in plan.fold_of.items()
            if fold in folds
        )


def read_groups(folder: Path) -> KnownGroups:
    """Read every fold plan in a folder named `folds` below `folder`; FoldError names a plan that cannot be read."""
    return KnownGroups(tuple(read_folds(path) for path in sorted(folder.rglob("folds/*.json"))))
