"""Evaluations that the user names: what `taichinet score` and `taichinet evaluate` wrote to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from taichinet.errors import DataError, SettingError
from taichinet.evaluation.detection_summary import Detection
from taichinet.experiments.records import SUMMARY_FILE, EvaluationRecord, is_evaluation, parse_record
from taichinet.reports.paper_tables.runs import read_summarised_scores
from taichinet.reports.paper_tables.tested import Tested
from taichinet.storage.documents import read_json

MAX_NAME = 64


@dataclass(frozen=True)
class Evaluated(Tested):
    """The scores of other weights, or of the predicted masks of any program, on a data set."""

    label: str
    place: Path
    record: EvaluationRecord

    @property
    def name(self) -> str:
        """The name that the user chose."""
        return self.label

    @property
    def folder(self) -> Path:
        """Folder of the scores."""
        return self.place

    @property
    def trained_on(self) -> str | None:
        """Name of the data set of the training; None for masks, whose training is not known."""
        return self._origin("dataset")

    @property
    def tested_on(self) -> str:
        """Name of the data set of the scores."""
        return self.record.dataset

    @property
    def protocol(self) -> str | None:
        """Fold protocol of the training, or with which masks were scored."""
        return self._origin("protocol")

    @property
    def images_digest(self) -> str:
        """Digest of the images of the data set."""
        return self.record.dataset_digest

    @cached_property
    def tables(self) -> tuple[pd.DataFrame, ...]:
        """scores.csv; raises DataError if it cannot be read."""
        return (read_summarised_scores(self.place, self.record.summary, self.record.scores),)

    @property
    def detection(self) -> Detection | None:
        """Detection of the first region."""
        return self.record.summary.detection

    def _origin(self, key: str) -> str | None:
        """What all networks record of their training under `key`; None if it is absent or differs."""
        values = {network.trained.get(key) for network in self.record.networks}
        return str(values.pop()) if len(values) == 1 and None not in values else None


def read_evaluation(spec: str) -> Evaluated:
    """Read an evaluation.

    Args:
        spec: NAME=DIR, or DIR, which is then called as in `score --name`, or by its folder. An existing path is never
            split at "=".

    Raises:
        DataError: The folder has no evaluation, or it cannot be read.
        SettingError: The name is empty, too long, or has characters that cannot be printed.
    """
    name, equals, text = spec.partition("=")
    folder = Path(text) if equals and not Path(spec).exists() else Path(spec)
    path = folder / SUMMARY_FILE
    if not path.is_file():
        raise DataError(f"{folder} has no {SUMMARY_FILE}. Give the --output folder of `taichinet score` or `evaluate`.")
    content = read_json(path)
    if not is_evaluation(content):
        raise DataError(f"{path} is not of an evaluation. Give trainings as RUNS, not with --scores.")
    record = parse_record(content, EvaluationRecord, path)
    if folder == Path(spec):
        scored = [network.model for network in record.networks if network.weights_sha256 is None]
        name = scored[0] if len(scored) == 1 and scored[0] else folder.absolute().name
    if not name.strip() or len(name) > MAX_NAME or "`" in name or not name.isprintable():
        raise SettingError(
            f"'{name[:100]}' cannot be the name of an evaluation. Use --scores NAME=DIR with at most {MAX_NAME} "
            "printable characters other than `."
        )
    return Evaluated(name.strip(), folder, record)


def refuse_repeated_names(evaluations: Sequence[Evaluated], methods: Sequence[Tested]) -> None:
    """Raise SettingError if an evaluation has the name of another one or of a method."""
    taken = {method.name for method in methods}
    for evaluation in evaluations:
        if evaluation.name in taken:
            raise SettingError(
                f"Two results are called '{evaluation.name}', one of them in {evaluation.place}. Give another name: "
                f"--scores NAME={evaluation.place}."
            )
        taken.add(evaluation.name)
