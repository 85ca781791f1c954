"""External validation (Table V, second half): the content of a validation card, computed from per-image scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.duplicates.known_images import ImageDigests, check_leaks
from taichinet.datasets.folds import read_folds
from taichinet.datasets.manifest import Manifest
from taichinet.errors import DataError
from taichinet.evaluation.aggregate import aggregate
from taichinet.evaluation.calibration import Calibration, pool
from taichinet.evaluation.confidence import ImageConfidence, detection_auc
from taichinet.evaluation.decision import Decision, stored_decision
from taichinet.evaluation.uncertainty import RESAMPLES, Interval, bootstrap_difference, bootstrap_mean
from taichinet.evaluation.undefined import (
    POLICIES,
    SCORES,
    SUFFIX,
    EmptyTruthPolicy,
    ImageSize,
    empty_ground_truth,
    resolve_undefined_scores,
)
from taichinet.experiments.provenance import source_commit
from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, read_fold
from taichinet.groups import cluster_numbers
from taichinet.models.weights_folder import WeightsConfig

WORST = 6
COMPARED = ("dice", "jaccard", "precision", "sensitivity", "hd95")


@dataclass(frozen=True)
class Origin:
    """Origin of the weights; None if it is not recorded. `size` is the input resolution in pixels (size x size)."""

    name: str
    model: str
    size: int
    decision: Decision
    trained_on: str | None = None
    trained_images: int | None = None
    trained_on_normal: bool | None = None
    protocol: str | None = None
    fold: int | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Cohort:
    """The scored images, for one region.

    `clusters` is the number of groups that the bootstrap draws (patients, near-duplicates), and the number of images if
    no groups are known. `note` says which images were excluded and why.
    """

    dataset: str
    title: str
    images_by_class: Mapping[str, int]
    clusters: int
    licence: str
    source: str
    citation: str
    digest: str
    region: str = "lesion"
    note: str = ""

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.images_by_class.values())


@dataclass(frozen=True)
class GroupCard:
    """Scores of one group, 'lesion', 'all' or a class: means over its images, by name as in `SCORES`.

    `policy` as in `GroupScores`. Both calibrations are None without probabilities.
    """

    group: str
    policy: EmptyTruthPolicy | None
    images: int
    scores: Mapping[ImageSize, Mapping[str, Interval]]
    whole: Calibration | None = None
    uncertain: Calibration | None = None


@dataclass(frozen=True)
class NormalCard:
    """False positives on normal images: fraction with any predicted pixel, and mean predicted fraction of the area.

    `detection_auc` is NaN without probabilities.
    """

    images: int
    false_positive_rate: Interval
    false_positive_area: Interval
    detection_auc: float


@dataclass(frozen=True)
class Comparison:
    """A mean score on the internal test images (of the data set of the training) and on the external images.

    `difference` is external minus internal, over lesion images at input resolution.
    """

    score: str
    internal: float
    external: float
    difference: Interval


@dataclass(frozen=True)
class WorstCase:
    """One of the lesion images with the lowest Dice; `image` is a PNG from `case_images`."""

    key: str
    label: str
    dice: float
    sensitivity: float
    precision: float
    image: bytes | None = None


@dataclass(frozen=True)
class ValidationCard:
    """One set of weights on one set of images.

    Attributes:
        lesion: Scores of the lesion images: the main result.
        by_class: Scores of the classes of lesion images.
        external: Whether no image of the data set was used in the training, as far as the weights record it.
        all_images: Scores of all images for both policies; empty without normal images.
        internal_grouped: Whether near-duplicates and patients of the internal images are known.
        missed: Number of lesion images without any correctly predicted pixel.
        worst: The worst cases, worst first.
        commit: Commit of the code that computed the scores.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
    """

    origin: Origin
    cohort: Cohort
    lesion: GroupCard
    by_class: tuple[GroupCard, ...]
    external: bool
    all_images: tuple[GroupCard, ...] = ()
    normal: NormalCard | None = None
    comparison: tuple[Comparison, ...] = ()
    internal_images: int | None = None
    internal_grouped: bool = False
    missed: int = 0
    worst: tuple[WorstCase, ...] = ()
    commit: str | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def overall(self) -> GroupCard:
        """Scores of all images, including normal images if there are any."""
        return self.all_images[0] if self.all_images else self.lesion


@dataclass(frozen=True)
class InternalResult:
    """Scores of the weights on the lesion images of their own test fold, at input resolution.

    Attributes:
        rows: Per-image scores.
        groups: Near-duplicates and patients of the fold plan; None if no plan was found.
    """

    rows: pd.DataFrame
    groups: Sequence[Sequence[str]] | None = None


@dataclass(frozen=True)
class Extras:
    """Optional content of a card.

    Attributes:
        confidences: By key, for calibration and detection.
        internal: The result on the internal test images.
        images: PNG files of the worst cases by key.
        note: Which images were excluded.
    """

    confidences: Mapping[str, ImageConfidence] = field(default_factory=dict)
    internal: InternalResult | None = None
    images: Mapping[str, bytes] = field(default_factory=dict)
    note: str = ""


def validation_card(
    scores: pd.DataFrame,
    weights: WeightsConfig,
    manifest: Manifest,
    dataset: Dataset,
    extras: Extras | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ValidationCard:
    """Compute the validation card of one network. Means are over images, as there is one network and no folds.

    Args:
        scores: Rows of `score_images` for the first region of the data set.
        weights: Configuration of the weights.
        manifest: The whole data set, including images that were not scored.
        dataset: The catalogue entry of the data set.
        extras: Optional content.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        The content of the card.

    Raises:
        DataError: The table is damaged, has images that are not in the data set, or confidences are missing.
    """
    extras = extras or Extras()
    aggregate(scores)  # refuses damaged tables
    rows = scores.assign(key=scores["key"].astype(str)).reset_index(drop=True)
    _refuse_unknown_images(rows, manifest, extras)
    rows["cluster"] = cluster_numbers(list(rows["key"]), manifest.patients)
    empty = empty_ground_truth(rows)
    lesion, normal = rows[~empty], rows[empty]
    boot = _Bootstrap(seed, resamples)
    return ValidationCard(
        origin=_origin(weights),
        cohort=_cohort(rows, manifest, dataset, extras.note),
        external=_is_external(weights, manifest),
        lesion=_group("lesion", lesion, None, boot, extras.confidences),
        by_class=tuple(
            _group(str(label), lesion[lesion["label"] == label], None, boot, extras.confidences)
            for label in sorted(lesion["label"].unique())
        ),
        all_images=tuple(_group("all", rows, policy, boot, extras.confidences) for policy in POLICIES if len(normal)),
        normal=None if normal.empty else _normal_card(lesion, normal, boot, extras.confidences),
        comparison=_comparison(lesion, extras.internal, boot),
        internal_images=None if extras.internal is None else len(extras.internal.rows),
        internal_grouped=extras.internal is not None and extras.internal.groups is not None,
        missed=int((lesion["dice"].fillna(0) == 0).sum()),
        worst=tuple(_worst_case(rows, key, extras.images) for key in worst_keys(scores)),
        commit=source_commit(),
        resamples=resamples,
        seed=seed,
    )


def _normal_card(
    lesion: pd.DataFrame, normal: pd.DataFrame, boot: _Bootstrap, confidences: Mapping[str, ImageConfidence]
) -> NormalCard:
    peaks = ([confidences[key].peak for key in rows["key"]] for rows in (lesion, normal))
    return NormalCard(
        images=normal["key"].nunique(),
        false_positive_rate=boot.mean(normal["predicted_pixels"] > 0, normal),
        false_positive_area=boot.mean(normal["predicted_pixels"] / normal["pixels"], normal),
        detection_auc=detection_auc(*peaks) if confidences else nan,
    )


def _cohort(rows: pd.DataFrame, manifest: Manifest, dataset: Dataset, note: str) -> Cohort:
    return Cohort(
        dataset=manifest.name,
        title=dataset.title,
        images_by_class={str(label): int(count) for label, count in rows["label"].value_counts(sort=False).items()},
        clusters=int(rows["cluster"].nunique()),
        licence=dataset.licence,
        source=dataset.source,
        citation=dataset.citation,
        digest=manifest.digest(),
        region=manifest.regions[0],
        note=note,
    )


def worst_keys(scores: pd.DataFrame, count: int = WORST) -> tuple[str, ...]:
    """Keys of the `count` lesion images with the lowest Dice at input resolution, worst first; ties by key."""
    lesion = scores[~empty_ground_truth(scores)]
    dice = lesion["dice"].fillna(0)
    return tuple(key for _, key in sorted(zip(dice.tolist(), lesion["key"].astype(str), strict=True))[:count])


def read_internal(weights_folder: Path) -> InternalResult | None:
    """The result on the test fold of weights in RUN/weights; None if RUN is not a completed run."""
    run = weights_folder.parent
    if not (run / RESULT_FILE).is_file() or not (run / SCORES_FILE).is_file():
        return None
    read = read_fold(run)
    rows = read.scores[~empty_ground_truth(read.scores)].reset_index(drop=True)
    return InternalResult(rows, _plan_groups(run, read.record.dataset_digest))


def _plan_groups(run: Path, digest: str) -> tuple[tuple[str, ...], ...] | None:
    """Groups of the fold plans in OUT/folds, for a run OUT/DATASET/RECIPE/PROTOCOL/fold-k; None without a plan."""
    folders = run.absolute().parents
    plans = [read_folds(path) for path in sorted((folders[3] / "folds").glob("*.json"))] if len(folders) > 3 else []
    groups = [plan.groups for plan in plans if plan.digest == digest]
    return tuple(group for plan in groups for group in plan) if groups else None


@dataclass(frozen=True)
class _Bootstrap:
    """Each interval uses a new generator with the same seed, so that it does not depend on the others."""

    seed: int
    resamples: int

    def mean(self, values: pd.Series, rows: pd.DataFrame) -> Interval:
        return bootstrap_mean(
            values.to_numpy(dtype=np.float64),
            np.random.default_rng(self.seed),
            rows["cluster"].tolist(),
            self.resamples,
        )


def _group(
    name: str,
    rows: pd.DataFrame,
    policy: EmptyTruthPolicy | None,
    boot: _Bootstrap,
    confidences: Mapping[str, ImageConfidence],
) -> GroupCard:
    scores: dict[ImageSize, Mapping[str, Interval]] = {
        size: {score: boot.mean(resolve_undefined_scores(rows, score + suffix, policy), rows) for score in SCORES}
        for size, suffix in SUFFIX.items()
    }
    measured = [confidences[key] for key in rows["key"]] if confidences else []
    return GroupCard(
        group=name,
        policy=policy,
        images=len(rows),
        scores=scores,
        whole=pool(each.whole for each in measured) if measured else None,
        uncertain=pool(each.uncertain for each in measured) if measured else None,
    )


def _comparison(lesion: pd.DataFrame, internal: InternalResult | None, boot: _Bootstrap) -> tuple[Comparison, ...]:
    if internal is None or lesion.empty:
        return ()
    groups = None if internal.groups is None else cluster_numbers(list(internal.rows["key"]), internal.groups)
    compared = []
    for score in COMPARED:
        here, there = (resolve_undefined_scores(rows, score, None) for rows in (lesion, internal.rows))
        difference = bootstrap_difference(
            np.asarray(here, dtype=np.float64),
            np.asarray(there, dtype=np.float64),
            np.random.default_rng(boot.seed),
            lesion["cluster"].tolist(),
            groups,
            resamples=boot.resamples,
        )
        compared.append(Comparison(score, float(there.mean()), float(here.mean()), difference))
    return tuple(compared)


def _worst_case(rows: pd.DataFrame, key: str, images: Mapping[str, bytes]) -> WorstCase:
    row = rows[rows["key"] == key].iloc[0]
    dice, sensitivity, precision = (
        0.0 if pd.isna(row[name]) else float(row[name]) for name in ("dice", "sensitivity", "precision")
    )
    return WorstCase(key, str(row["label"]), dice, sensitivity, precision, images.get(key))


def _origin(weights: WeightsConfig) -> Origin:
    provenance = weights.provenance
    keys = provenance.get("train_keys")
    return Origin(
        name=str(provenance.get("recipe", weights.model)),
        model=weights.model,
        size=weights.size,
        decision=stored_decision(weights.decision, weights.threshold, weights.model),
        trained_on=provenance.get("dataset"),
        trained_images=len(keys) if isinstance(keys, list) else None,
        trained_on_normal=provenance.get("include_normal"),
        protocol=provenance.get("protocol"),
        fold=provenance.get("fold"),
        commit=provenance.get("commit"),
    )


def _is_external(weights: WeightsConfig, manifest: Manifest) -> bool:
    """Whether no image of the data set was used in the training, by the name of the data set if none are recorded."""
    check = check_leaks(weights.provenance, ImageDigests(manifest))
    if check.by_files or check.by_pixels:
        return not check.known
    trained_on = weights.provenance.get("dataset")
    return trained_on is not None and trained_on != manifest.name


def _refuse_unknown_images(rows: pd.DataFrame, manifest: Manifest, extras: Extras) -> None:
    keys = list(rows["key"])
    known = set(manifest.keys)
    if unknown := [key for key in keys if key not in known]:
        raise DataError(
            f"{len(unknown)} of {len(keys)} scored images are not in the data set {manifest.name}. Pass the manifest "
            "that they were scored from.",
            unknown,
        )
    if extras.confidences and (absent := [key for key in keys if key not in extras.confidences]):
        raise DataError(
            f"{len(absent)} of {len(keys)} scored images have no confidence. Measure them with the same network.",
            absent,
        )
