"""Aggregation of per-image scores: mean and standard deviation over folds, with and without normal images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan, nan

import numpy as np
import pandas as pd

from taichinet.errors import DataError
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

COLUMNS = (
    "key",
    "label",
    "fold",
    *(score + suffix for suffix in SUFFIX.values() for score in SCORES),
    "predicted_pixels",
    "true_pixels",
    "pixels",
)
DEVIATION = "sample standard deviation over folds (ddof=1)"


@dataclass(frozen=True)
class FoldScore:
    """One score: mean of the fold means, their sample standard deviation (ddof=1; None for one fold), fold means."""

    mean: float
    std: float | None
    per_fold: Mapping[int, float]


@dataclass(frozen=True)
class GroupScores:
    """All scores of one group of images.

    Attributes:
        group: 'lesion', 'all', a class, or one of several regions (e.g. 'cup').
        policy: How images with an empty ground truth are scored; None if the group has no such image.
        images: Number of distinct images.
        images_per_fold: Number of images in each fold.
        scores: Scores by name, for each image size.
    """

    group: str
    policy: EmptyTruthPolicy | None
    images: int
    images_per_fold: Mapping[int, int]
    scores: Mapping[ImageSize, Mapping[str, FoldScore]]


@dataclass(frozen=True)
class NormalImages:
    """False positives on normal images (images without lesion); NaN if there are none.

    Attributes:
        images: Number of distinct normal images.
        false_positive_rate: Fraction of normal images with at least one predicted pixel.
        mean_false_positive_area: Mean predicted area as a fraction of the image, 0 for images without prediction.
    """

    images: int
    false_positive_rate: float
    mean_false_positive_area: float


@dataclass(frozen=True)
class Summary:
    """Aggregated scores of one run.

    With several regions, all scores except `by_region` are those of the first, outermost region.

    Attributes:
        lesion: Scores of the images with a lesion: the main result.
        all_images: Scores of all images, for each policy for empty ground truth. Report them together with `normal`.
        by_class: Scores of each class. Report them together with `normal`.
        normal: False positives on normal images.
        by_region: Scores of each region; empty if there is only one.
    """

    lesion: GroupScores
    all_images: Mapping[EmptyTruthPolicy, GroupScores]
    by_class: tuple[GroupScores, ...]
    normal: NormalImages
    by_region: tuple[GroupScores, ...] = ()

    @property
    def groups(self) -> tuple[GroupScores, ...]:
        """Lesion images first, then all images for each policy, then the classes, then the regions."""
        return (self.lesion, *self.all_images.values(), *self.by_class, *self.by_region)

    def to_json_dict(self) -> dict[str, object]:
        """Plain strings, ints and floats for JSON, with None instead of NaN."""
        return {
            "deviation": DEVIATION,
            "groups": [_plain(_group_json(group)) for group in self.groups],
            "normal_images": _plain(asdict(self.normal)),
        }


def aggregate(rows: pd.DataFrame, repeated: bool = False) -> Summary:
    """Aggregate per-image scores over folds.

    A normal image has an empty ground truth at network and at original resolution. A lesion that vanished in resizing
    (`true_pixels` is 0, but the ground truth is not empty at original resolution) counts as a missed lesion: its
    undefined scores are 0. ACC, HD95 and ASSD are defined for every image and do not depend on the policy. A fold
    without an image of a group is excluded from the mean and standard deviation of that group.

    Args:
        rows: One row per image and region with `COLUMNS`; scores as returned by `score_mask`. Without a column
            "region", there is one region.
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
    return Summary(
        lesion=_group(scored, "lesion", None, ~empty),
        all_images={policy: _group(scored, "all", policy, everything) for policy in POLICIES},
        by_class=tuple(by_class),
        normal=_normal_images(rows[empty]),
        by_region=tuple(by_region),
    )


def _without_undefined(rows: pd.DataFrame, policy: EmptyTruthPolicy) -> pd.DataFrame:
    """A copy of `rows` without NaN, with undefined scores replaced by `resolve_undefined_scores`."""
    columns = [score + suffix for suffix in SUFFIX.values() for score in OVERLAP_SCORES]
    return rows.assign(**{column: resolve_undefined_scores(rows, column, policy) for column in columns})


def _group(
    scored: Mapping[EmptyTruthPolicy, pd.DataFrame],
    name: str,
    policy: EmptyTruthPolicy | None,
    members: pd.Series[bool],
) -> GroupScores:
    # Without empty ground truth, both policies give the same scores.
    rows = scored[policy or POLICIES[0]][members]
    return GroupScores(
        group=name,
        policy=policy,
        images=rows["key"].nunique(),
        images_per_fold={fold: len(part) for fold, part in _by_fold(rows).items()},
        scores={
            size: {score: _over_folds(rows, score + suffix) for score in SCORES} for size, suffix in SUFFIX.items()
        },
    )


def _by_fold(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    return {int(fold): rows[rows["fold"] == fold] for fold in sorted(rows["fold"].unique())}


def _over_folds(rows: pd.DataFrame, column: str) -> FoldScore:
    per_fold = {fold: float(part[column].mean()) for fold, part in _by_fold(rows).items()}
    means = np.array(list(per_fold.values()))
    return FoldScore(
        mean=float(means.mean()) if means.size else nan,
        std=float(means.std(ddof=1)) if means.size > 1 else None,
        per_fold=per_fold,
    )


def _normal_images(normal: pd.DataFrame) -> NormalImages:
    return NormalImages(
        images=normal["key"].nunique(),
        false_positive_rate=float((normal["predicted_pixels"] > 0).mean()),
        mean_false_positive_area=float((normal["predicted_pixels"] / normal["pixels"]).mean()),
    )


def _group_json(group: GroupScores) -> dict[str, object]:
    content = asdict(group)
    scores = content.pop("scores")
    return {**content, **scores}


def _plain(value: object) -> object:
    """`value` with string keys, and None instead of NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and isnan(value) else value


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
