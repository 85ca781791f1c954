"""ComparisonResults: all that is computed from a folder of runs, before any of it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taichinet.evaluation.uncertainty import RESAMPLES
from taichinet.experiments.paper import paper_tables
from taichinet.experiments.recipes.catalogue import list_recipes
from taichinet.reports.comparison.blocks import Block, changed_settings, make_blocks, recipe_of
from taichinet.reports.comparison.groups import KnownGroups, read_groups
from taichinet.reports.comparison.leakage import LeakageDelta, leakage_deltas
from taichinet.reports.comparison.runs import Method, read_methods


@dataclass(frozen=True)
class LeftOver:
    """A method that fills no row, and why."""

    method: Method
    reason: str


@dataclass(frozen=True)
class ComparisonResults:
    """Every method below a folder, the tables that they fill, and what the protocols tell apart."""

    methods: tuple[Method, ...]
    groups: KnownGroups
    blocks: tuple[Block, ...]
    leakage: tuple[LeakageDelta, ...]
    left_over: tuple[LeftOver, ...]
    seed: int
    resamples: int


def read_results(folder: Path, seed: int = 0, resamples: int = RESAMPLES) -> ComparisonResults:
    """Read every run below `folder` and compute all comparisons; `seed` draws the intervals."""
    methods, groups = read_methods(folder), read_groups(folder)
    blocks = [
        block for table in paper_tables().values() for block in make_blocks(table, methods, groups, seed, resamples)
    ]
    used = {id(method) for block in blocks for _, method in block.filled}
    return ComparisonResults(
        methods=tuple(methods),
        groups=groups,
        blocks=tuple(blocks),
        leakage=tuple(leakage_deltas(methods, groups, seed, resamples)),
        left_over=tuple(LeftOver(method, _reason(method)) for method in methods if id(method) not in used),
        seed=seed,
        resamples=resamples,
    )


def _reason(method: Method) -> str:
    if method.name not in list_recipes():
        return "a name of its own"
    scale, _, variation = method.name.partition("-")
    normal = method.experiment.data.include_normal
    rows = [
        (part, row)
        for t in paper_tables().values()
        for part in t.parts
        for row in part.rows
        if row.variation == variation
    ]
    if not rows:
        return "no row of the paper"
    fitting = [(part, row) for part, row in rows if part.include_normal == normal] or rows
    part, row = fitting[0]
    if changed := changed_settings(method, recipe_of(scale, row, part)):
        return "settings of its own: " + "; ".join(changed)
    return "no table of the paper is of this data set"
