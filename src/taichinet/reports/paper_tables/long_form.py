"""The report's values as CSV files: one unrounded value per row, empty if it was not measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from taichinet.evaluation.uncertainty import Interval
from taichinet.evaluation.undefined import POLICIES
from taichinet.reports.paper_tables.results import ComparisonResults
from taichinet.reports.paper_tables.runs import Method, Selection
from taichinet.reports.paper_tables.tables import Block, BlockRow
from taichinet.storage.csv_cells import escape_cell

PLACE = "table scale protocol trained_on tested_on with_normal row recipe"
RUN = "recipe trained_on tested_on with_normal protocol folds_done folds seeds"
INTERVAL = "difference low high images clusters"
OURS = "folds_done folds seeds ours_mean ours_std paper_mean paper_std difference"
TESTS = f"{INTERVAL} better worse p p_holm rank_biserial"
LEAKAGE = f"recipe data with_normal paired leaking_images score paper grouped {INTERVAL}"
COSTS = "parameters gflops training_seconds_per_fold inference_seconds_per_image placement commits"
Row = Sequence[Any]


def csv_files(results: ComparisonResults) -> dict[str, str]:
    """Return the text of every CSV file by its name."""
    return {
        "tables.csv": _csv(f"{PLACE} score region {OURS}", _scores(results.blocks)),
        "comparisons.csv": _csv(f"{PLACE} score region {TESTS}", _tests(results.blocks)),
        "leakage.csv": _csv(LEAKAGE, _leakage(results)),
        "empty-truths.csv": _csv(f"{RUN} policy images score mean std", _policies(results.methods)),
        "costs.csv": _csv(f"{RUN} {COSTS}", _costs(results.methods)),
    }


def _scores(blocks: Sequence[Block]) -> Iterable[Row]:
    for block in blocks:
        for row in block.rows:
            extent = (None, None, None) if row.method is None else _extent(row.method)
            for place, column in enumerate(block.part.columns):
                ours, printed = row.scores[place], row.row.figures[place]
                values = (ours.mean, ours.std, printed.mean, printed.std, row.difference(place))
                yield *_place(block, row), column.score, column.region, *extent, *values


def _tests(blocks: Sequence[Block]) -> Iterable[Row]:
    for block in blocks:
        for row in block.rows:
            for entry in row.tests:
                test = entry.test
                values = (test.better, test.worse, test.p, entry.p_holm, test.effect)
                column = (entry.column.score, entry.column.region)
                yield *_place(block, row), *column, *_interval(test.difference), *values


def _leakage(results: ComparisonResults) -> Iterable[Row]:
    for entry in results.leakage:
        file = entry.paper.file
        run = (entry.paper.name, file.dataset, file.experiment.data.include_normal, entry.paired, entry.leaking)
        for delta in entry.deltas:
            yield *run, delta.score, delta.paper, delta.grouped, *_interval(delta.difference)


def _policies(methods: Sequence[Method]) -> Iterable[Row]:
    for method in methods:
        if not method.first.summary.normal_images.images:
            continue
        for policy in (None, *POLICIES):
            selection = Selection() if policy is None else Selection("all", policy)
            images = (policy or "lesion images only", method.images(selection))
            for name in ("dice", "jaccard", "precision", "sensitivity"):
                score = method.score(selection, name)
                yield *_run(method), *images, name, score.mean, score.std


def _costs(methods: Sequence[Method]) -> Iterable[Row]:
    for method in methods:
        file = method.file
        times = (method.seconds_per_fold, method.inference_seconds)
        yield *_run(method), file.parameters, file.gflops, *times, file.placement, " ".join(file.commits)


def _place(block: Block, row: BlockRow) -> Row:
    part = block.part
    data = (part.trained_on, part.tested_on, part.include_normal)
    recipe = None if row.method is None else row.method.name
    return (block.table.name, block.scale, block.protocol, *data, row.row.title, recipe)


def _run(method: Method) -> Row:
    file = method.file
    normal = file.experiment.data.include_normal
    return (method.name, file.dataset, method.first.tested_on, normal, file.protocol, *_extent(method))


def _extent(method: Method) -> Row:
    return (len(method.folds_done), method.file.folds, len(method.runs))


def _interval(interval: Interval) -> Row:
    return (interval.mean, interval.low, interval.high, interval.images, interval.clusters)


def _csv(columns: str, rows: Iterable[Row]) -> str:
    # The type object keeps whole numbers beside empty cells.
    cells = [[_cell(value) for value in row] for row in rows]
    text: str = pd.DataFrame(cells, columns=columns.split(), dtype=object).to_csv(index=False, lineterminator="\n")
    return text


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else escape_cell(value)
