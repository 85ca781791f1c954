"""The leakage delta: how much better a network seems on the paper's random folds, which split near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from taichinet.evaluation.uncertainty import RESAMPLES, Interval, bootstrap_difference, bootstrap_mean
from taichinet.experiments.identity import recipe_settings
from taichinet.reports.comparison.groups import KnownGroups
from taichinet.reports.comparison.runs import Method, Selection

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

    `paired`: both tested the same images, which were then compared one by one; otherwise the two sides are resampled
    apart. `leaking`: test images of the paper's folds that have a copy in another fold, None where no plan tells it.
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
    """One for every recipe with results under both `paper` and `grouped` on the same pictures."""
    found = []
    for paper in methods:
        if paper.protocol != "paper" or _foreign(paper):
            continue
        twin = next((m for m in methods if m.protocol == "grouped" and not _foreign(m) and _alike(m, paper)), None)
        if twin is not None:
            found.append(_delta(paper, twin, groups, seed, resamples))
    return found


def _delta(paper: Method, grouped: Method, groups: KnownGroups, seed: int, resamples: int) -> LeakageDelta:
    file = paper.first.file
    selection = Selection("all", "paper") if paper.experiment.data.include_normal else Selection()
    sides = {score: (paper.per_image(selection, score), grouped.per_image(selection, score)) for score in COMPARED}
    here, there = sides[COMPARED[0]]
    paired = set(here.index) == set(there.index)
    return LeakageDelta(
        paper=paper,
        grouped=grouped,
        images=(len(here), len(there)),
        paired=paired,
        leaking=groups.leaking(file.dataset_digest, "paper", file.folds, file.fold_seed, paper.folds_done),
        deltas=tuple(
            Delta(
                score,
                float(one.mean()),
                float(other.mean()),
                _difference(one, other, paired, groups, file.dataset, seed, resamples),
            )
            for score, (one, other) in sides.items()
        ),
    )


def _difference(
    one: pd.Series[float],
    other: pd.Series[float],
    paired: bool,
    groups: KnownGroups,
    dataset: str,
    seed: int,
    resamples: int,
) -> Interval:
    """`one` minus `other`, images of one group of near-duplicates always drawn together."""
    rng = np.random.default_rng(seed)
    clusters = groups.clusters(dataset, list(one.index))
    values = np.asarray(one, dtype=np.float64)
    if paired:
        aligned = np.asarray(other[list(one.index)], dtype=np.float64)
        return bootstrap_mean(values - aligned, rng, clusters, resamples)
    others = np.asarray(other, dtype=np.float64)
    other_clusters = groups.clusters(dataset, list(other.index))
    return bootstrap_difference(values, others, rng, clusters, other_clusters, resamples)


def _foreign(method: Method) -> bool:
    return method.first.tested_on != method.first.file.dataset


def _alike(one: Method, other: Method) -> bool:
    return (
        one.name == other.name
        and one.first.file.dataset_digest == other.first.file.dataset_digest
        and one.first.file.dataset == other.first.file.dataset
        and recipe_settings(one.experiment) == recipe_settings(other.experiment)
    )
