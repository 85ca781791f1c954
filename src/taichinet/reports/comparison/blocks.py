"""Tables I to VII filled with our runs: ours, the printed figure, the difference; each row against TaiChiNet.

A block is one part of a table at one scale under one protocol, with every printed row. A row is filled only by a run
of its recipe: the name tells the row, and every setting must be the recipe's, so that a changed one never passes for
it. Where two recipes are the same but for their names (Model 1 of Table I and Table IV's U-Net), either fills both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from taichinet.datasets.folds import PROTOCOLS
from taichinet.evaluation.statistics import PairedTest, compare_pairs, holm
from taichinet.evaluation.uncertainty import RESAMPLES
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.identity import recipe_settings
from taichinet.experiments.paper import Column, PaperPart, PaperRow, PaperTable
from taichinet.experiments.recipes.catalogue import SCALES, get_recipe, list_recipes
from taichinet.experiments.records import ScoreRecord
from taichinet.reports.comparison.groups import KnownGroups
from taichinet.reports.comparison.runs import Method, Selection
from taichinet.reports.departures import choices_not_printed, departures

REFERENCE = "taichinet"
TESTED = "dice"
NO_SCORE = ScoreRecord(mean=None, std=None)


@dataclass(frozen=True)
class RowTest:
    """A row against TaiChiNet in one column; `p_holm` is adjusted over all tests of the block."""

    column: Column
    test: PairedTest
    p_holm: float


@dataclass(frozen=True)
class BlockRow:
    """A printed row and what filled it: nothing where `method` is None. `scores` has an entry for every column."""

    row: PaperRow
    method: Method | None
    scores: tuple[ScoreRecord, ...]
    tests: tuple[RowTest, ...] = ()

    def difference(self, column: int) -> float | None:
        """Ours minus the printed mean."""
        mean = self.scores[column].mean
        return None if mean is None else mean - self.row.figures[column].mean


@dataclass(frozen=True)
class Block:
    """One part of a table at one scale under one protocol; both are None where nothing was run."""

    table: PaperTable
    part: PaperPart
    scale: str | None
    protocol: str | None
    rows: tuple[BlockRow, ...]

    @property
    def filled(self) -> tuple[tuple[BlockRow, Method], ...]:
        """The rows that were run."""
        return tuple((row, row.method) for row in self.rows if row.method is not None)


def selection_of(part: PaperPart, column: Column) -> Selection:
    """The images that a printed column is of: a region, all with the paper's zero for normal ones, or the lesions."""
    if column.region is not None:
        return Selection(column.region, region=column.region)
    return Selection("all", "paper") if part.include_normal else Selection()


def recipe_of(scale: str, row: PaperRow, part: PaperPart) -> Experiment:
    """The settings that a run must have to fill `row`."""
    return vary(get_recipe(f"{scale}-{row.variation}"), {"data.include_normal": part.include_normal})


def changed_settings(method: Method, recipe: Experiment) -> list[str]:
    """What `method` has otherwise than `recipe`, as `training.epochs 2 (recipe: 4)`."""
    wanted, given = recipe_settings(recipe), recipe_settings(method.experiment)
    keys = [key for key in (*wanted, *given) if wanted.get(key) != given.get(key)]
    return [f"{key} {given.get(key)} (recipe: {wanted.get(key)})" for key in dict.fromkeys(keys)]


def make_blocks(
    table: PaperTable, methods: Sequence[Method], groups: KnownGroups, seed: int = 0, resamples: int = RESAMPLES
) -> list[Block]:
    """The blocks of `table`: for each part one for every scale and protocol that fills a row, else an empty one."""
    blocks = []
    for part in table.parts:
        found = [
            block
            for scale in SCALES
            for protocol in PROTOCOLS
            for block in _fill(table, part, scale, protocol, methods)
        ]
        blocks += [_with_tests(block, groups, seed, resamples) for block in found] or [_empty(table, part)]
    return blocks


def common_and_own(block: Block) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """What the rows of `block` do otherwise than the paper: what all filled rows share, and the rest by recipe."""
    told = {
        method.name: [
            *departures(method.experiment, get_recipe(f"busi-{row.row.variation}")),
            *choices_not_printed(method.experiment),
        ]
        for row, method in block.filled
    }
    # How a width departs is told in other words for TaiChiNet (printed) than for a baseline (our default).
    shared = [text for text in next(iter(told.values()), []) if all(text in texts for texts in told.values())]
    own = {name: tuple(text for text in texts if text not in shared) for name, texts in told.items()}
    return tuple(shared), {name: texts for name, texts in own.items() if texts}


def _fill(table: PaperTable, part: PaperPart, scale: str, protocol: str, methods: Sequence[Method]) -> list[Block]:
    """A block for every study that fills a row: usually one, more where pictures or folds of other kinds lie there."""
    fitting = [
        method
        for method in methods
        if method.first.file.dataset == part.trained_on
        and method.first.tested_on == part.tested_on
        and method.protocol == protocol
        and method.experiment.data.include_normal == part.include_normal
    ]
    blocks = []
    for study in dict.fromkeys(method.study for method in fitting):
        here = [method for method in fitting if method.study == study]
        rows = tuple(_row(part, scale, row, here) for row in part.rows)
        if any(row.method is not None for row in rows):
            blocks.append(Block(table, part, scale, protocol, rows))
    return blocks


def _row(part: PaperPart, scale: str, row: PaperRow, methods: Sequence[Method]) -> BlockRow:
    name = f"{scale}-{row.variation}"
    recipe = recipe_of(scale, row, part)
    same = [m for m in methods if m.name in list_recipes() and not changed_settings(m, recipe)]
    method = next((m for m in same if m.name == name), same[0] if same else None)
    if method is None:
        return BlockRow(row, None, (NO_SCORE,) * len(part.columns))
    scores = tuple(method.score(selection_of(part, column), column.score) for column in part.columns)
    return BlockRow(row, method, scores)


def _empty(table: PaperTable, part: PaperPart) -> Block:
    rows = tuple(BlockRow(row, None, (NO_SCORE,) * len(part.columns)) for row in part.rows)
    return Block(table, part, None, None, rows)


def _with_tests(block: Block, groups: KnownGroups, seed: int, resamples: int) -> Block:
    """Every row against TaiChiNet over the images that both were tested on, in each Dice column."""
    reference = next((method for row, method in block.filled if row.row.variation == REFERENCE), None)
    if reference is None:
        return block
    columns = [column for column in block.part.columns if column.score == TESTED]
    found: list[tuple[int, Column, PairedTest]] = []
    for place, row in enumerate(block.rows):
        if row.method is None or row.method is reference:
            continue
        for column in columns:
            selection = selection_of(block.part, column)
            if (test := compare_methods(row.method, reference, selection, groups, seed, resamples)) is not None:
                found.append((place, column, test))
    adjusted = holm([test.p for _, _, test in found])
    tests: dict[int, list[RowTest]] = {}
    for (place, column, test), p in zip(found, adjusted, strict=True):
        tests.setdefault(place, []).append(RowTest(column, test, p))
    rows = tuple(replace(row, tests=tuple(tests.get(place, ()))) for place, row in enumerate(block.rows))
    return replace(block, rows=rows)


def compare_methods(
    method: Method,
    reference: Method,
    selection: Selection,
    groups: KnownGroups,
    seed: int = 0,
    resamples: int = RESAMPLES,
    score: str = TESTED,
) -> PairedTest | None:
    """`method` minus `reference` over the images that both have scored; None where there is none."""
    here, there = method.per_image(selection, score), reference.per_image(selection, score)
    keys = [key for key in here.index if key in there.index]
    if not keys:
        return None
    clusters = groups.clusters(method.first.tested_on, keys)
    values, others = (np.asarray(series[keys], dtype=np.float64) for series in (here, there))
    return compare_pairs(values, others, np.random.default_rng(seed), clusters, resamples)
