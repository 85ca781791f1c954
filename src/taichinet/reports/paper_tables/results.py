"""ComparisonResults: everything that the report shows, computed from a folder of runs.

A block is one part of a table of the paper at one scale under one protocol, with all rows of the paper. A row is filled
only by a run of its recipe with all settings of that recipe, so that a run with changed settings is never reported as
the row. If two recipes differ only in their names (Model 1 of Table I and Table IV's U-Net), runs of either fill both
rows. Each row is compared with TaiChiNet by paired tests.

The leakage delta is how much higher the scores are on the paper's random folds, which split near-duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taichinet.datasets.folds import PROTOCOLS
from taichinet.evaluation.aggregate import FoldScore
from taichinet.evaluation.statistics import PairedTest, holm
from taichinet.evaluation.uncertainty import RESAMPLES, Interval, bootstrap_difference, bootstrap_mean
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.identity import recipe_settings
from taichinet.experiments.paper import Column, PaperPart, PaperRow, PaperTable, paper_tables
from taichinet.experiments.recipes.catalogue import SCALES, get_recipe, list_recipes
from taichinet.progress import tracked
from taichinet.reports.paper_tables.comparisons import SEED, Against, compare_against, compare_methods
from taichinet.reports.paper_tables.differences import all_differences
from taichinet.reports.paper_tables.evaluations import Evaluated, refuse_repeated_names
from taichinet.reports.paper_tables.overview import Overview, make_overview
from taichinet.reports.paper_tables.runs import KnownGroups, Method, read_groups, read_methods
from taichinet.reports.paper_tables.tested import Selection

REFERENCE = "taichinet"
TESTED = "dice"
COMPARED = ("dice", "jaccard", "accuracy", "precision", "sensitivity", "hd95")


@dataclass(frozen=True)
class BlockRow:
    """A row of the paper and the method that fills it, if any; `scores` has one entry per column."""

    row: PaperRow
    method: Method | None
    scores: tuple[FoldScore, ...]

    def difference(self, column: int) -> float | None:
        """Our mean minus the paper's."""
        mean = self.scores[column].mean
        return None if mean is None else mean - self.row.figures[column].mean


@dataclass(frozen=True)
class RowTest:
    """The test of a row against TaiChiNet in one column; `p_holm` is adjusted for all tests of the block."""

    row: BlockRow
    column: Column
    test: PairedTest
    p_holm: float


@dataclass(frozen=True)
class Block:
    """One part of a table at one scale under one protocol; both are None if nothing was run."""

    table: PaperTable
    part: PaperPart
    scale: str | None
    protocol: str | None
    rows: tuple[BlockRow, ...]
    tests: tuple[RowTest, ...] = ()

    @property
    def filled(self) -> tuple[tuple[BlockRow, Method], ...]:
        """The rows that were run."""
        return tuple((row, row.method) for row in self.rows if row.method is not None)


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
        overview: The main networks and their comparisons.
        leakage: Recipes with results under both fold protocols.
        left_over: Methods that fill no row, with the reason.
        resamples: Number of bootstrap resamples of all intervals.
        evaluations: Evaluations and scored predictions that the user named.
        against: The comparisons with the method that the user named; None without one.
    """

    methods: tuple[Method, ...]
    groups: KnownGroups
    blocks: tuple[Block, ...]
    overview: Overview
    leakage: tuple[LeakageDelta, ...]
    left_over: tuple[tuple[Method, str], ...]
    resamples: int
    evaluations: tuple[Evaluated, ...] = ()
    against: Against | None = None


def read_results(
    folder: Path, resamples: int = RESAMPLES, evaluations: Sequence[Evaluated] = (), against: str | None = None
) -> ComparisonResults:
    """Read all runs below `folder` and compute all comparisons.

    Args:
        folder: The output folder of `taichinet train` or `compare`.
        resamples: Number of bootstrap resamples.
        evaluations: Evaluations and scored predictions that are shown and compared, too.
        against: Name of the method with which all others are compared; None for none.

    Returns:
        The results.

    Raises:
        DataError: There are no runs, or files cannot be read.
        FoldError: A fold plan cannot be read, or nothing can be compared with `against`.
        SettingError: `against` or the name of an evaluation is not the name of one method.
    """
    methods, groups = read_methods(folder), read_groups(folder)
    refuse_repeated_names(evaluations, methods)
    tables = tracked(paper_tables().values(), "comparing the recipes of each table")
    blocks = [block for table in tables for block in make_blocks(table, methods, groups, resamples)]
    used = {id(method) for block in blocks for _, method in block.filled}
    return ComparisonResults(
        methods=tuple(methods),
        groups=groups,
        blocks=tuple(blocks),
        overview=make_overview(methods, groups, resamples),
        leakage=tuple(leakage_deltas(methods, groups, resamples)),
        left_over=tuple((method, _reason(method)) for method in methods if id(method) not in used),
        resamples=resamples,
        evaluations=tuple(evaluations),
        against=None if against is None else compare_against([*methods, *evaluations], against, groups, resamples),
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


def recipe_of(scale: str, row: PaperRow, part: PaperPart) -> Experiment:
    """The settings that a run must have to fill `row`."""
    return vary(get_recipe(f"{scale}-{row.variation}"), {"data.include_normal": part.include_normal})


def changed_settings(method: Method, recipe: Experiment) -> list[str]:
    """The settings of `method` that differ from `recipe`, as `training.epochs 2 (recipe: 4)`."""
    wanted, given = recipe_settings(recipe), recipe_settings(method.experiment)
    keys = [key for key in wanted | given if wanted.get(key) != given.get(key)]
    return [f"{key} {given.get(key)} (recipe: {wanted.get(key)})" for key in keys]


def make_blocks(
    table: PaperTable, methods: Sequence[Method], groups: KnownGroups, resamples: int = RESAMPLES
) -> list[Block]:
    """Return the blocks of `table`: for each part one per scale, protocol and study with a run, else an empty one."""
    blocks = []
    recipes = list_recipes()
    methods = [method for method in methods if method.name in recipes]
    for part in table.parts:
        filled = [
            block
            for scale in SCALES
            for protocol in PROTOCOLS
            for block in _fill(table, part, scale, protocol, methods)
        ]
        empty = Block(table, part, None, None, tuple(_row(part, "", row, ()) for row in part.rows))
        blocks += [_with_tests(block, groups, resamples) for block in filled] or [empty]
    return blocks


def common_and_own(block: Block) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The differences of the rows from the paper: those of all filled rows, and the others by recipe."""
    differences = {
        method.name: all_differences(method.experiment, get_recipe(f"busi-{row.row.variation}"))
        for row, method in block.filled
    }
    first = next(iter(differences.values()), [])
    shared = tuple(text for text in first if all(text in texts for texts in differences.values()))
    own = {name: tuple(text for text in texts if text not in shared) for name, texts in differences.items()}
    return shared, {name: texts for name, texts in own.items() if texts}


def _fill(table: PaperTable, part: PaperPart, scale: str, protocol: str, methods: Sequence[Method]) -> list[Block]:
    """A block for each study that fills a row; several if images or folds of one name differ."""
    wanted = (part.trained_on, part.tested_on, protocol, part.include_normal)
    studies: dict[tuple[object, ...], list[Method]] = {}
    for method in methods:
        file = method.file
        if (file.dataset, method.first.tested_on, file.protocol, method.experiment.data.include_normal) == wanted:
            studies.setdefault(method.first.study, []).append(method)
    blocks = [
        Block(table, part, scale, protocol, tuple(_row(part, scale, row, members) for row in part.rows))
        for members in studies.values()
    ]
    return [block for block in blocks if block.filled]


def _row(part: PaperPart, scale: str, row: PaperRow, methods: Sequence[Method]) -> BlockRow:
    same: list[Method] = []
    if methods:
        recipe = recipe_of(scale, row, part)
        same = [m for m in methods if not changed_settings(m, recipe)]
    if not same:
        return BlockRow(row, None, (FoldScore(mean=None, std=None),) * len(part.columns))
    method = next((m for m in same if m.name == f"{scale}-{row.variation}"), same[0])
    return BlockRow(row, method, tuple(method.score(_selection(part, c), c.score) for c in part.columns))


def _selection(part: PaperPart, column: Column) -> Selection:
    """The images of a column: those of a region, all with score 0 for normal images, or those with a lesion."""
    if column.region is not None:
        return Selection(column.region, region=column.region)
    return Selection("all", "paper") if part.include_normal else Selection()


def _with_tests(block: Block, groups: KnownGroups, resamples: int) -> Block:
    """Test every row against TaiChiNet on the images that both were tested on, in each Dice column."""
    reference = next((method for row, method in block.filled if row.row.variation == REFERENCE), None)
    if reference is None:
        return block
    columns = [column for column in block.part.columns if column.score == TESTED]
    tests: list[tuple[BlockRow, Column, PairedTest]] = []
    for row, method in block.filled:
        for column in columns if method is not reference else ():
            test = compare_methods(method, reference, _selection(block.part, column), TESTED, groups, resamples)
            if test is not None:
                tests.append((row, column, test))
    adjusted = holm([test.p for _, _, test in tests])
    return replace(block, tests=tuple(RowTest(*test, p) for test, p in zip(tests, adjusted, strict=True)))
