"""External validation (Table V, second half): from one network's per-image scores to its ValidationCard."""

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
from taichinet.evaluation.calibration import pool
from taichinet.evaluation.confidence import ImageConfidence
from taichinet.evaluation.detection import detection_auc
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
from taichinet.experiments.card import (
    Cohort,
    Comparison,
    GroupCard,
    NormalCard,
    Origin,
    ValidationCard,
    WorstCase,
)
from taichinet.experiments.provenance import source_commit
from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, read_fold
from taichinet.groups import cluster_numbers
from taichinet.models.weights import WeightsConfig

WORST = 6
COMPARED = ("dice", "jaccard", "precision", "sensitivity", "hd95")


@dataclass(frozen=True)
class InternalResult:
    """What the weights scored on the lesion images of their own data set that they had not seen, at network size.

    `means` by the names of `SCORES`. `rows` are the per-image scores behind them where they are at hand (a run's
    scores.csv): only with them has a difference an interval. `groups` are the near-duplicates and patients of the
    fold plan, drawn together in that interval; None where no plan is found.
    """

    images: int
    means: Mapping[str, float]
    rows: pd.DataFrame | None = None
    groups: Sequence[Sequence[str]] | None = None


@dataclass(frozen=True)
class Extras:
    """What a card can do without.

    `confidences` by key, for calibration and detection; `groups` of keys that are not independent (near-duplicates;
    patients are read from the manifest); `pictures` as PNG by key, for the worst cases; `note` which images were left
    out; `made` further facts as (name, value).
    """

    confidences: Mapping[str, ImageConfidence] = field(default_factory=dict)
    groups: Sequence[Sequence[str]] = ()
    internal: InternalResult | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    note: str = ""
    made: tuple[tuple[str, str], ...] = ()


def validation_card(
    scores: pd.DataFrame,
    weights: WeightsConfig,
    manifest: Manifest,
    dataset: Dataset,
    extras: Extras | None = None,
    region: int = 0,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ValidationCard:
    """The card of `weights` on the images of `scores`, the rows of `score_images` for one region of `manifest`.

    `manifest` is the whole data set, also the images that were left out, and `dataset` its entry in the catalogue.
    Means are over images, not over folds: one network is judged. Raises DataError for a torn table, or confidences
    that lack images of it.
    """
    extras = extras or Extras()
    summary = aggregate(scores)  # refuses torn tables
    rows = scores.assign(key=scores["key"].astype(str)).reset_index(drop=True)
    _refuse_strangers(rows, manifest, extras)
    rows["cluster"] = cluster_numbers(list(rows["key"]), (*manifest.patients, *extras.groups))
    empty = empty_ground_truth(rows)
    lesion, normal = rows[~empty], rows[empty]
    boot = _Bootstrap(seed, resamples)
    return ValidationCard(
        origin=_origin(weights),
        cohort=_cohort(rows, manifest, dataset, region, extras.note),
        external=_is_external(weights, manifest),
        lesion=_group("lesion", lesion, None, boot, extras.confidences),
        by_class=tuple(
            _group(str(label), lesion[lesion["label"] == label], None, boot, extras.confidences)
            for label in sorted(lesion["label"].unique())
        ),
        all_images=tuple(_group("all", rows, policy, boot, extras.confidences) for policy in POLICIES if len(normal)),
        normal=None
        if normal.empty
        else NormalCard(
            images=summary.normal.images,
            false_positive_rate=boot.mean(normal["predicted_pixels"] > 0, normal),
            false_positive_area=boot.mean(normal["predicted_pixels"] / normal["pixels"], normal),
            detection_auc=_detection(lesion, normal, extras.confidences),
        ),
        comparison=_comparison(lesion, extras.internal, boot),
        internal_images=None if extras.internal is None else extras.internal.images,
        internal_grouped=extras.internal is not None and extras.internal.groups is not None,
        missed=int((lesion["dice"].fillna(0) == 0).sum()),
        worst=tuple(_worst_case(rows, key, extras.pictures) for key in worst_keys(scores)),
        commit=source_commit(),
        resamples=resamples,
        seed=seed,
        made=extras.made,
    )


def _cohort(rows: pd.DataFrame, manifest: Manifest, dataset: Dataset, region: int, note: str) -> Cohort:
    return Cohort(
        dataset=manifest.name,
        title=dataset.title,
        images_by_class={str(label): int(count) for label, count in rows["label"].value_counts(sort=False).items()},
        clusters=int(rows["cluster"].nunique()),
        licence=dataset.licence,
        source=dataset.source,
        citation=dataset.citation,
        digest=manifest.digest(),
        region=manifest.regions[region],
        note=note,
    )


def worst_keys(scores: pd.DataFrame, count: int = WORST) -> tuple[str, ...]:
    """Keys of the `count` lesion images with the lowest Dice at network size, worst first; equal ones by key."""
    lesion = scores[~empty_ground_truth(scores)]
    dice = lesion["dice"].fillna(0)
    return tuple(key for _, key in sorted(zip(dice.tolist(), lesion["key"].astype(str), strict=True))[:count])


def read_internal(weights_folder: Path) -> InternalResult | None:
    """The own result of the weights in a run folder, RUN/weights: of its test fold. None outside a finished run."""
    run = weights_folder.parent
    if not (run / RESULT_FILE).is_file() or not (run / SCORES_FILE).is_file():
        return None
    read = read_fold(run)
    rows = read.scores
    rows = rows[~empty_ground_truth(rows)].reset_index(drop=True)
    means = {name: float(resolve_undefined_scores(rows, name, None).mean()) for name in SCORES}
    return InternalResult(len(rows), means, rows, _plan_groups(run, read.record.dataset_digest))


def _plan_groups(run: Path, digest: str) -> tuple[tuple[str, ...], ...] | None:
    """The groups of these images by OUT/folds, for a run OUT/DATASET/RECIPE/PROTOCOL/fold-k; None without a plan."""
    folders = run.absolute().parents
    plans = [read_folds(path) for path in sorted((folders[3] / "folds").glob("*.json"))] if len(folders) > 3 else []
    groups = [plan.groups for plan in plans if plan.digest == digest]
    return tuple(group for plan in groups for group in plan) if groups else None


@dataclass(frozen=True)
class _Bootstrap:
    """Every interval draws from a new generator of the same seed: none depends on which were drawn before."""

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
    kept = [confidences[key] for key in rows["key"]] if confidences else []
    return GroupCard(
        group=name,
        policy=policy,
        images=len(rows),
        scores=scores,
        whole=pool(one.whole for one in kept) if kept else None,
        uncertain=pool(one.uncertain for one in kept) if kept else None,
    )


def _detection(lesion: pd.DataFrame, normal: pd.DataFrame, confidences: Mapping[str, ImageConfidence]) -> float:
    if not confidences:
        return nan
    return detection_auc(
        [confidences[key].peak for key in lesion["key"]], [confidences[key].peak for key in normal["key"]]
    )


def _comparison(lesion: pd.DataFrame, internal: InternalResult | None, boot: _Bootstrap) -> tuple[Comparison, ...]:
    if internal is None or lesion.empty:
        return ()
    compared = []
    for score in COMPARED:
        if score not in internal.means:
            continue
        here, there = resolve_undefined_scores(lesion, score, None), internal.means[score]
        external = float(here.mean())
        difference = Interval(external - there, nan, nan, len(here) + internal.images, 0)
        if internal.rows is not None:
            difference = bootstrap_difference(
                np.asarray(here, dtype=np.float64),
                np.asarray(resolve_undefined_scores(internal.rows, score, None), dtype=np.float64),
                np.random.default_rng(boot.seed),
                lesion["cluster"].tolist(),
                None if internal.groups is None else cluster_numbers(list(internal.rows["key"]), internal.groups),
                resamples=boot.resamples,
            )
        compared.append(Comparison(score, there, external, difference))
    return tuple(compared)


def _worst_case(rows: pd.DataFrame, key: str, pictures: Mapping[str, bytes]) -> WorstCase:
    row = rows[rows["key"] == key].iloc[0]
    dice, sensitivity, precision = (
        0.0 if pd.isna(row[name]) else float(row[name]) for name in ("dice", "sensitivity", "precision")
    )
    return WorstCase(key, str(row["label"]), dice, sensitivity, precision, pictures.get(key))


def _origin(weights: WeightsConfig) -> Origin:
    told = weights.provenance
    keys = told.get("train_keys")
    return Origin(
        name=str(told.get("recipe", weights.model)),
        model=weights.model,
        size=weights.size,
        threshold=weights.threshold,
        trained_on=told.get("dataset"),
        trained_images=len(keys) if isinstance(keys, list) else None,
        trained_on_normal=told.get("include_normal"),
        protocol=told.get("protocol"),
        fold=told.get("fold"),
        commit=told.get("commit"),
    )


def _is_external(weights: WeightsConfig, manifest: Manifest) -> bool:
    """No image of the data set took part in the training; by the data sets' names where no images are recorded."""
    check = check_leaks(weights.provenance, ImageDigests(manifest))
    if check.by_files or check.by_pixels:
        return not check.known
    trained_on = weights.provenance.get("dataset")
    return trained_on is not None and trained_on != manifest.name


def _refuse_strangers(rows: pd.DataFrame, manifest: Manifest, extras: Extras) -> None:
    keys = list(rows["key"])
    known = set(manifest.keys)
    if strangers := [key for key in keys if key not in known]:
        raise DataError(
            f"{len(strangers)} of {len(keys)} scored images are not in the data set {manifest.name}. Pass the manifest "
            "that they were scored from.",
            strangers,
        )
    if extras.confidences and (absent := [key for key in keys if key not in extras.confidences]):
        raise DataError(
            f"{len(absent)} of {len(keys)} scored images have no confidence. Measure them with the same network.",
            absent,
        )
