"""Scores per image of anything that was tested: trained recipes, and evaluations of other weights or predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from taichinet.evaluation.detection_summary import Detection
from taichinet.evaluation.undefined import EmptyTruthPolicy, empty_ground_truth, resolve_undefined_scores


@dataclass(frozen=True)
class Selection:
    """The images of a score, and the score of an image without lesion.

    Attributes:
        group: A group of the summary: "lesion", "all" or a class.
        policy: The score of an image with empty ground truth; None excludes such images.
        region: A region, for data sets with several; it replaces `group`.
    """

    group: str = "lesion"
    policy: EmptyTruthPolicy | None = None
    region: str | None = None


class Tested(ABC):
    """What was tested on the images of a data set, with one table of scores for each seed."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Folder of the scores, of the first seed."""

    @property
    @abstractmethod
    def trained_on(self) -> str | None:
        """Name of the data set of the training; None if unknown."""

    @property
    @abstractmethod
    def tested_on(self) -> str:
        """Name of the data set of the scores."""

    @property
    @abstractmethod
    def protocol(self) -> str | None:
        """Fold protocol of the training; None if unknown."""

    @property
    @abstractmethod
    def images_digest(self) -> str:
        """`Manifest.digest` of the data set of the scores; empty if it was not recorded."""

    @property
    @abstractmethod
    def tables(self) -> tuple[pd.DataFrame, ...]:
        """scores.csv of each seed, with the column "region"; raises DataError if one cannot be read."""

    @property
    @abstractmethod
    def detection(self) -> Detection | None:
        """Detection of the first region over all seeds; None if it was not recorded."""

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that were scored, outer before inner."""
        return tuple(dict.fromkeys(self.tables[0]["region"]))

    def folds_by_image(self) -> dict[str, frozenset[int]]:
        """The folds in which each image was tested, by key."""
        rows = pd.concat([table[["key", "fold"]] for table in self.tables])
        return {str(key): frozenset(map(int, folds)) for key, folds in rows.groupby("key")["fold"].unique().items()}

    def per_image(
        self, selection: Selection, column: str = "dice", folds: Container[int] | None = None
    ) -> pd.Series[float]:
        """The score `column` by key without NaN; the mean over seeds, and over folds that tested the same image.

        `folds` restricts the scores to these folds.
        """
        parts = []
        for table in self.tables:
            region = selection.region or table["region"].iloc[0]
            rows = table[table["region"] == region].reset_index(drop=True)
            if folds is not None:
                rows = rows[[fold in folds for fold in rows["fold"]]]
            if selection.policy is None:
                rows = rows[~empty_ground_truth(rows)]
            if selection.region is None and selection.group not in ("lesion", "all"):
                rows = rows[rows["label"] == selection.group]
            scores = resolve_undefined_scores(rows, column, selection.policy)
            parts.append(pd.Series(scores.to_numpy(), index=rows["key"].to_numpy()))
        series: pd.Series[float] = pd.concat(parts).groupby(level=0).mean()
        return series
