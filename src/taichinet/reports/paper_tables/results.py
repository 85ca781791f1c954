"""ComparisonResults: everything that the report shows, computed from a folder of runs.

The leakage delta is how much higher the scores are on the paper's random folds, which split near-duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taichinet.evaluation.uncertainty import RESAMPLES, Interval, bootstrap_difference, bootstrap_mean
from taichinet.experiments.paper import paper_tables
from taichinet.experiments.recipes.catalogue import list_recipes
from taichinet.reports.paper_tables.runs import KnownGroups, Method, Selection, read_groups, read_methods
from taichinet.reports.paper_tables.tables import SEED, Block, changed_settings, make_blocks, recipe_of

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


@dataclass(frozen=True)
class ComparisonResults:
    """The results of all runs below a folder.

    Attributes:
        methods: All methods.
        groups: Near-duplicates and images of one patient.
        blocks: The tables of the paper, in order.
        leakage: Recipes with results under both fold protocols.
        left_over: Methods that fill no row, with the reason.
        resamples: Number of bootstrap resamples of all intervals.
    """

    methods: tuple[Method, ...]
    groups: KnownGroups
    blocks: tuple[Block, ...]
    leakage: tuple[LeakageDelta, ...]
    left_over: tuple[tuple[Method, str], ...]
    resamples: int


def read_results(folder: Path, resamples: int = RESAMPLES) -> ComparisonResults:
    """Read all runs below `folder` and compute all comparisons.

    Args:
        folder: The output folder of `taichinet train` or `compare`.
        resamples: Number of bootstrap resamples.

    Returns:
        The results.

    Raises:
        DataError: There are no runs, or files cannot be read.
        FoldError: A fold plan cannot be read.
    """
    methods, groups = read_methods(folder), read_groups(folder)
    tables = paper_tables().values()
    blocks = [block for table in tables for block in make_blocks(table, methods, groups, resamples)]
    used = {id(method) for block in blocks for _, method in block.filled}
    return ComparisonResults(
        methods=tuple(methods),
        groups=groups,
        blocks=tuple(blocks),
        leakage=tuple(leakage_deltas(methods, groups, resamples)),
        left_over=tuple((method, _reason(method)) for method in methods if id(method) not in used),
        resamples=resamples,
    )


def _reason(method: Method) -> str:
    """Why `method` fills no row."""
    if method.name not in list_recipes():
        return "not a recipe of the package"
    scale, _, variation = method.name.partition("-")
    parts = [part for table in paper_tables().values() for part in table.parts]
    rows = [(part, row) for part in parts for row in part.rows if row.variation == variation]
    if not rows:
        return "no row of the paper"
    # A part with the same choice of normal images, if there is one: that choice is then not listed as a difference.
    part, row = min(rows, key=lambda pair: pair[0].include_normal != method.experiment.data.include_normal)
    if changed := changed_settings(method, recipe_of(scale, row, part)):
        return "changed settings: " + "; ".join(changed)
    return "no table of the paper is of this data set"


def leakage_deltas(methods: Sequence[Method], groups: KnownGroups, resamples: int = RESAMPLES) -> list[LeakageDelta]:
    """Return one entry for every recipe with results under both `paper` and `grouped` on the same data set."""
    grouped = {_identity(method): method for method in reversed(methods) if method.file.protocol == "grouped"}
    return [
        _leakage_delta(method, grouped[_identity(method)], groups, resamples)
        for method in methods
        if method.own_data and method.file.protocol == "paper" and _identity(method) in grouped
    ]


def _leakage_delta(paper: Method, grouped: Method, groups: KnownGroups, resamples: int) -> LeakageDelta:
    selection = Selection("all", "paper") if paper.experiment.data.include_normal else Selection()
    deltas = []
    for score in COMPARED:
        random, other = (method.per_image(selection, score) for method in (paper, grouped))
        if score == COMPARED[0]:
            images, paired = (len(random), len(other)), set(random.index) == set(other.index)
        rng = np.random.default_rng(SEED)
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
    return (method.name, method.own_data, method.file.dataset, method.file.dataset_digest, method.first.settings)
