"""The leakage delta: how much higher the scores are on the paper's random folds, which split near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taichinet.evaluation.uncertainty import RESAMPLES, Interval, bootstrap_difference, bootstrap_mean
from taichinet.experiments.identity import recipe_settings
from taichinet.reports.paper_tables.runs import KnownGroups, Method, Selection

COMPARED = ("dice", "jaccard", "accuracy", "precision", "sensitivity", "hd95")


@dataclass(frozen=True)
class Delta:
    """One score under both protocols, as means over images; `difference` is paper minus grouped."""

    score: str
    paper: float
    grouped: float
    difference: Interval


@dataclass(frozen=True)
class LeakageDelta:
    """One recipe under both protocols.

    Attributes:
        paper: The recipe on random folds.
        grouped: The recipe on grouped folds.
        images: Number of test images of the random and of the grouped folds.
        paired: Whether both tested the same images, which are then compared one by one; otherwise the images of both
            are resampled independently.
        leaking: Test images of the random folds with a near-duplicate in another fold; None without the fold plan.
        deltas: One entry for each of `COMPARED`.
    """

    paper: Method
    grouped: Method
    images: tuple[int, int]
    paired: bool
    leaking: int | None
    deltas: tuple[Delta, ...]


def leakage_deltas(
    methods: Sequence[Method], groups: KnownGroups, seed: int = 0, resamples: int = RESAMPLES
) -> list[LeakageDelta]:
    """Return one entry for every recipe with results under both `paper` and `grouped` on the same data set."""
    grouped = {_identity(method): method for method in reversed(methods) if method.file.protocol == "grouped"}
    return [
        _leakage_delta(method, grouped[_identity(method)], groups, seed, resamples)
        for method in methods
        if method.own_data and method.file.protocol == "paper" and _identity(method) in grouped
    ]


def _leakage_delta(paper: Method, grouped: Method, groups: KnownGroups, seed: int, resamples: int) -> LeakageDelta:
    selection = Selection("all", "paper") if paper.experiment.data.include_normal else Selection()
    deltas = []
    for score in COMPARED:
        random, other = (method.per_image(selection, score) for method in (paper, grouped))
        if score == COMPARED[0]:
            images, paired = (len(random), len(other)), set(random.index) == set(other.index)
        rng = np.random.default_rng(seed)
        clusters = groups.clusters(paper.file.dataset, list(random.index))
        values = np.asarray(random, dtype=np.float64)
        if paired:
            values = values - np.asarray(other[list(random.index)], dtype=np.float64)
            difference = bootstrap_mean(values, rng, clusters, resamples)
        else:
            others = np.asarray(other, dtype=np.float64)
            other_clusters = groups.clusters(paper.file.dataset, list(other.index))
            difference = bootstrap_difference(values, others, rng, clusters, other_clusters, resamples)
        deltas.append(Delta(score, float(random.mean()), float(other.mean()), difference))
    file = paper.file
    leaking = groups.leaking(file.dataset_digest, "paper", file.folds, file.fold_seed, paper.folds_done)
    return LeakageDelta(paper, grouped, images, paired, leaking, tuple(deltas))


def _identity(method: Method) -> tuple[object, ...]:
    """Equal for methods that differ only in their folds."""
    settings = tuple(sorted((key, str(value)) for key, value in recipe_settings(method.experiment).items()))
    return (method.name, method.own_data, method.file.dataset, method.file.dataset_digest, settings)
