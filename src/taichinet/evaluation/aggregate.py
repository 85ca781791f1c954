"""Aggregation of per-image scores: mean and standard deviation over folds, with and without normal images."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator, Field

from taichinet.errors import DataError
from taichinet.evaluation.detection_summary import Detection, summarise_detection
from taichinet.evaluation.undefined import (
    OVERLAP_SCORES,
    POLICIES,
    SCORES,
    SUFFIX,
    EmptyTruthPolicy,
    ImageSize,
    empty_ground_truth,
    resolve_undefined_scores,
)
from taichinet.settings import Record

COLUMNS = (
    "key",
    "label",
    "fold",
    *(score + suffix for suffix in SUFFIX.values() for score in SCORES),
    "predicted_pixels",
    "true_pixels",
    "pixels",
)
DICE_BEFORE = "dice_before"  # Dice at original resolution without the presence decision, of groups of lesion images
DEVIATION = "sample standard deviation over folds (ddof=1)"


def _none_for_nan(value: float | None) -> float | None:
    return None if value is None or isnan(value) else value


def _refuse_missing_scores(scores: dict[str, FoldScore]) -> dict[str, FoldScore]:
    missing = [name for name in SCORES if name not in scores]
    if missing:
        raise ValueError(f"lacks the scores {', '.join(missing)}")
    return scores


Value = Annotated[float | None, AfterValidator(_none_for_nan)]


class FoldScore(Record):
    """One score: mean of the fold means, their sample standard deviation (None for one fold), and the fold means.

    A mean without images is None.
    """

    mean: Value
    std: Value
    per_fold: dict[int, Value] = Field(default_factory=dict)


FoldScores = Annotated[dict[str, FoldScore], AfterValidator(_refuse_missing_scores)]


class GroupScores(Record):
    """All scores of one group of images.

    Attributes:
        group: 'lesion', 'all', a class, one of several regions (e.g. 'cup'), or the lesion images of a joined data set.
        policy: How images with an empty ground truth are scored; None if the group has no such image.
        images: Number of distinct images.
        images_per_fold: Number of images in each fold.
        network: Scores by name at the input resolution of the network.
        native: Scores by name at the original resolution. Groups without normal images also have `DICE_BEFORE` if any
            fold has a presence decision.
    """

    group: str
    policy: EmptyTruthPolicy | None
    images: int
    images_per_fold: dict[int, int] = Field(default_factory=dict)
    network: FoldScores
    native: FoldScores

    def score(self, name: str, size: ImageSize = "network") -> FoldScore:
        """The score `name` at the input resolution of the network or at the original ("native") resolution."""
        return (self.network if size == "network" else self.native)[name]


class NormalImages(Record):
    """False positives on normal images (images without lesion); None if there are none.

    Attributes:
        images: Number of distinct normal images.
        false_positive_rate: Fraction of normal images with at least one predicted pixel.
        mean_false_positive_area: Mean predicted area as a fraction of the image, 0 for images without prediction.
    """

    images: int
    false_positive_rate: Value
    mean_false_positive_area: Value


class Summary(Record):
    """Aggregated scores of one run, as in result.json and summary.json.

    With several regions, all groups except those of the regions have the scores of the first, outermost region.

    Attributes:
        deviation: Definition of the standard deviations.
        groups: Lesion images (the main result), all images for each policy for empty ground truth, the classes, the
            regions if there are several, and the lesion images of each data set if several are joined. Report those of
            all images and classes together with `normal_images`.
        normal_images: False positives on normal images.
        normal_images_by_dataset: The same for each of several joined data sets.
        detection: Detection of lesions; None in files of earlier versions.
    """

    deviation: str = ""
    groups: tuple[GroupScores, ...]
    normal_images: NormalImages
    normal_images_by_dataset: dict[str, NormalImages] = Field(default_factory=dict)
    detection: Detection | None = None

    @property
    def lesion(self) -> GroupScores:
        """Scores of the images with a lesion, the main result."""
        return self.groups[0]


def aggregate(rows: pd.DataFrame, repeated: bool = False) -> Summary:
    """Aggregate per-image scores over folds.

    A normal image has an empty ground truth at network and at original resolution. A lesion that vanished in resizing
    (`true_pixels` is 0, but the ground truth is not empty at original resolution) counts as a missed lesion: its
    undefined scores are 0. ACC, HD95 and ASSD are defined for every image and do not depend on the policy. A fold
    without an image of a group is excluded from the mean and standard deviation of that group.

    Args:
        rows: One row per image and region with `COLUMNS`; scores as returned by `score_mask`. Without a column
            "region", there is one region; without a column "dataset", there is one data set. Without the columns of the
            detection, it is not summarised.
        repeated: Whether an image may occur in several folds. This is the case if the networks of several folds are
            evaluated on all images of an external data set.

    Returns:
        The aggregated scores.

    Raises:
        DataError: Missing columns, no rows, an image more than once, or missing values.
    """
    if "region" not in rows:
        rows = rows.assign(region="lesion")
    _check_rows(rows, repeated)
    by_region: list[GroupScores] = []
    regions = list(rows["region"].unique())
    if len(regions) > 1:
        for region in regions:
            part = rows[rows["region"] == region].reset_index(drop=True)
            scored = {policy: _without_undefined(part, policy) for policy in POLICIES}
            by_region.append(_group(scored, str(region), None, ~empty_ground_truth(part)))
        rows = rows[rows["region"] == regions[0]].reset_index(drop=True)
    empty = empty_ground_truth(rows)
    scored = {policy: _without_undefined(rows, policy) for policy in POLICIES}
    everything = pd.Series(True, index=rows.index)
    by_class = [
        _group(scored, str(label), policy, rows["label"] == label)
        for label in sorted(rows["label"].unique())
        for policy in (POLICIES if bool(empty[rows["label"] == label].any()) else (None,))
    ]
    names = list(rows["dataset"].unique()) if "dataset" in rows else []
    datasets = {str(name): rows["dataset"] == name for name in names}
    by_dataset = [_group(scored, name, None, members & ~empty) for name, members in datasets.items()]
    all_images = [_group(scored, "all", policy, everything) for policy in POLICIES]
    return Summary(
        deviation=DEVIATION,
        groups=(_group(scored, "lesion", None, ~empty), *all_images, *by_class, *by_region, *by_dataset),
        normal_images=_normal_images(rows[empty]),
        normal_images_by_dataset={name: _normal_images(rows[members & empty]) for name, members in datasets.items()},
        detection=summarise_detection(rows),
    )


def _without_undefined(rows: pd.DataFrame, policy: EmptyTruthPolicy) -> pd.DataFrame:
    """A copy of `rows` without NaN, with undefined scores replaced by `resolve_undefined_scores`."""
    columns = [score + suffix for suffix in SUFFIX.values() for score in OVERLAP_SCORES]
    resolved = rows.assign(**{column: resolve_undefined_scores(rows, column, policy) for column in columns})
    before = DICE_BEFORE + SUFFIX["native"]
    if before in rows:  # missing for folds without a presence decision
        resolved[before] = rows[before].fillna(resolved["dice_native"])
    return resolved


def _group(
    scored: Mapping[EmptyTruthPolicy, pd.DataFrame],
    name: str,
    policy: EmptyTruthPolicy | None,
    members: pd.Series[bool],
) -> GroupScores:
    # Without empty ground truth, both policies give the same scores.
    rows = scored[policy or POLICIES[0]][members]
    further = [DICE_BEFORE] if policy is None and DICE_BEFORE + SUFFIX["native"] in rows else []
    return GroupScores(
        group=name,
        policy=policy,
        images=rows["key"].nunique(),
        images_per_fold={fold: len(part) for fold, part in _by_fold(rows).items()},
        network={score: _over_folds(rows, score + SUFFIX["network"]) for score in SCORES},
        native={score: _over_folds(rows, score + SUFFIX["native"]) for score in (*SCORES, *further)},
    )


def _by_fold(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    return {int(fold): rows[rows["fold"] == fold] for fold in sorted(rows["fold"].unique())}


def _over_folds(rows: pd.DataFrame, column: str) -> FoldScore:
    per_fold = {fold: float(part[column].mean()) for fold, part in _by_fold(rows).items()}
    means = np.array(list(per_fold.values()))
    return FoldScore(
        mean=float(means.mean()) if means.size else None,
        std=float(means.std(ddof=1)) if means.size > 1 else None,
        per_fold=per_fold,
    )


def _normal_images(normal: pd.DataFrame) -> NormalImages:
    return NormalImages(
        images=normal["key"].nunique(),
        false_positive_rate=float((normal["predicted_pixels"] > 0).mean()),
        mean_false_positive_area=float((normal["predicted_pixels"] / normal["pixels"]).mean()),
    )


def _check_rows(rows: pd.DataFrame, repeated: bool) -> None:
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise DataError(f"The per-image table lacks the columns {', '.join(missing)}; evaluate the run again.")
    if rows.empty:
        raise DataError("The per-image table has no rows; evaluate at least one image.")
    duplicates = rows.loc[rows.duplicated(["key", "region", *(["fold"] if repeated else [])]), "key"].unique()
    if len(duplicates):
        raise DataError(
            "The per-image table has duplicate images; each image is tested in one fold only.", map(str, duplicates)
        )
    # `score_mask` only returns NaN for overlap scores of an empty ground truth. Other missing values mean that the
    # table is damaged.
    always = rows[[score + suffix for suffix in SUFFIX.values() for score in ("accuracy", "hd95", "assd")]]
    overlap = rows[[score + suffix for suffix in SUFFIX.values() for score in OVERLAP_SCORES]]
    counted = rows[["label", "fold", "predicted_pixels", "true_pixels", "pixels"]]
    damaged = always.isna().any(axis=1) | counted.isna().any(axis=1)
    damaged |= overlap.isna().any(axis=1) & (rows["true_pixels"] > 0)
    if bool(damaged.any()):
        raise DataError(
            "The per-image table has empty cells where a score is defined; evaluate the run again.",
            (str(key) for key in rows.loc[damaged, "key"]),
        )
