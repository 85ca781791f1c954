"""Detection over all images: lesions found, false components, and both against the least score of a component."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from taichinet.errors import DataError
from taichinet.evaluation.detection import DETECTION_COLUMNS
from taichinet.evaluation.rates import Rate
from taichinet.evaluation.strata import Stratum, stratify
from taichinet.settings import Record

LEAST_SCORES = (0.0, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
SENSITIVITY = 0.95
MISSED = -1.0  # the score of an image without a component: below every least score

Floats = NDArray[np.float64]


class FrocPoint(Record):
    """Detection by the components with at least a given score; all others are treated as not predicted.

    The mask threshold of the network is kept: it determines the components, only their score is compared. The first two
    shares are a point of the FROC curve, the last two a point of the curve over images.

    Attributes:
        least_score: Least score of a component; 0 for all components.
        lesions_found: Share of lesions that are found.
        false_components_per_image: Mean number of false components over all images, with and without lesion.
        lesion_images_found: Share of lesion images in which at least one lesion is found.
        normal_images_predicted: Share of normal images with any component.
    """

    least_score: float
    lesions_found: float | None
    false_components_per_image: float
    lesion_images_found: float | None
    normal_images_predicted: float | None


class Detection(Record):
    """Detection of lesions at original resolution, see `evaluation/detection.py`. Rates are over all images, not folds.

    Attributes:
        images: Number of distinct images.
        lesions: Lesions that are found.
        lesion_images: Images with at least one lesion in which at least one is found.
        normal_images: Normal images in which anything is predicted.
        false_components_per_image: Mean number of false components over all images.
        f1: 2 found / (2 found + false components + lesions not found); None without any of them.
        specificity_at_95_sensitivity: Share of normal images without a component, at the largest least score with which
            a lesion is still found in 95 % of the lesion images. None if fewer are found with all components.
        curve: Operating points at the scores `LEAST_SCORES`.
        strata: Scores by lesion size and class.
    """

    images: int
    lesions: Rate
    lesion_images: Rate
    normal_images: Rate
    false_components_per_image: float
    f1: float | None
    specificity_at_95_sensitivity: float | None
    curve: tuple[FrocPoint, ...]
    strata: tuple[Stratum, ...]


def summarise_detection(rows: pd.DataFrame) -> Detection | None:
    """Summarise the detection over all images.

    If several networks were evaluated on the same images, each prediction counts; the intervals are those of the
    distinct images, see `Rate.of`.

    Args:
        rows: Rows of `score_images` for one region.

    Returns:
        The detection; None if the rows were written by an earlier version, without `DETECTION_COLUMNS`.

    Raises:
        DataError: The scores of components cannot be read.
    """
    needed = [*DETECTION_COLUMNS, "nsd_native"]
    if any(column not in rows for column in needed) or bool(rows[list(DETECTION_COLUMNS)].isna().any(axis=None)):
        return None
    scores = _Scores.of(rows)
    repeats = len(rows) / rows["key"].nunique()
    found, false = len(scores.found), len(scores.false)
    missed = scores.lesions - found
    return Detection(
        images=rows["key"].nunique(),
        lesions=Rate.of(found, scores.lesions, repeats),
        lesion_images=Rate.of(int((scores.lesion_images >= 0).sum()), len(scores.lesion_images), repeats),
        normal_images=Rate.of(int((scores.normal_images >= 0).sum()), len(scores.normal_images), repeats),
        false_components_per_image=false / scores.images,
        f1=2 * found / (2 * found + false + missed) if found + false + missed else None,
        specificity_at_95_sensitivity=scores.specificity(SENSITIVITY),
        curve=tuple(map(scores.froc_point, LEAST_SCORES)),
        strata=stratify(rows, repeats),
    )


@dataclass(frozen=True)
class _Scores:
    """Scores of components: of all lesions found, all false components, and the largest of each image."""

    images: int
    lesions: int
    found: Floats
    false: Floats
    lesion_images: Floats
    normal_images: Floats

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Scores:
        found, false = (_read(rows, column) for column in ("found_scores", "false_scores"))
        normal = (rows["lesions"] == 0).to_numpy()
        return cls(
            images=len(rows),
            lesions=int(rows["lesions"].sum()),
            found=np.array([score for scores in found for score in scores], dtype=np.float64),
            false=np.array([score for scores in false for score in scores], dtype=np.float64),
            lesion_images=np.array([max(scores, default=MISSED) for scores in found])[~normal],
            normal_images=np.array([max(scores, default=MISSED) for scores in false])[normal],
        )

    def froc_point(self, least: float) -> FrocPoint:
        return FrocPoint(
            least_score=least,
            lesions_found=_share(int((self.found >= least).sum()), self.lesions),
            false_components_per_image=int((self.false >= least).sum()) / self.images,
            lesion_images_found=_share(int((self.lesion_images >= least).sum()), len(self.lesion_images)),
            normal_images_predicted=_share(int((self.normal_images >= least).sum()), len(self.normal_images)),
        )

    def specificity(self, sensitivity: float) -> float | None:
        count = ceil(round(sensitivity * len(self.lesion_images), 9))  # images in which a lesion must be found
        if not count or not len(self.normal_images):
            return None
        least = np.sort(self.lesion_images)[-count]
        return None if least == MISSED else float((self.normal_images < least).mean())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _read(rows: pd.DataFrame, column: str) -> list[list[float]]:
    """The lists of scores in a column."""
    lists = []
    for key, cell in zip(rows["key"], rows[column], strict=True):
        try:
            lists.append([float(score) for score in json.loads(cell)])
        except (TypeError, ValueError) as error:
            raise DataError(
                f"The per-image table has '{cell}' as {column} of {key}, which is not a list of scores; evaluate the "
                "run again."
            ) from error
    return lists
