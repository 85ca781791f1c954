"""ComparisonResults: everything that the report shows, computed from a folder of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taichinet.evaluation.uncertainty import RESAMPLES
from taichinet.experiments.paper import paper_tables
from taichinet.experiments.recipes.catalogue import list_recipes
from taichinet.reports.paper_tables.leakage import LeakageDelta, leakage_deltas
from taichinet.reports.paper_tables.runs import KnownGroups, Method, read_groups, read_methods
from taichinet.reports.paper_tables.tables import Block, changed_settings, make_blocks, recipe_of


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


def read_results(folder: Path, seed: int = 0, resamples: int = RESAMPLES) -> ComparisonResults:
    """Read all runs below `folder` and compute all comparisons.

    Args:
        folder: The output folder of `taichinet train` or `compare`.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        The results.

    Raises:
        DataError: There are no runs, or files cannot be read.
        FoldError: A fold plan cannot be read.
    """
    methods, groups = read_methods(folder), read_groups(folder)
    tables = paper_tables().values()
    blocks = [block for table in tables for block in make_blocks(table, methods, groups, seed, resamples)]
    used = {id(method) for block in blocks for _, method in block.filled}
    return ComparisonResults(
        methods=tuple(methods),
        groups=groups,
        blocks=tuple(blocks),
        leakage=tuple(leakage_deltas(methods, groups, seed, resamples)),
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
