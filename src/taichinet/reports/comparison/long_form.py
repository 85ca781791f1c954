"""The report's figures for programs: CSV files in long form, one figure a line, unrounded; empty where not run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from taichinet.evaluation.undefined import POLICIES
from taichinet.reports.comparison.blocks import Block
from taichinet.reports.comparison.results import ComparisonResults
from taichinet.reports.comparison.runs import Method, Selection
from taichinet.storage.csv_cells import escape_cell

PLACE = ("table", "scale", "protocol", "trained_on", "tested_on", "with_normal", "row", "recipe")
RUN = ("recipe", "trained_on", "tested_on", "with_normal", "protocol", "folds_done", "folds", "seeds")
INTERVAL = ("difference", "low", "high", "images", "clusters")
Value = str | int | float | bool | None


def csv_files(results: ComparisonResults) -> dict[str, str]:
    """The text of every file by its name."""
    ours = ("folds_done", "folds", "seeds", "ours_mean", "ours_std", "paper_mean", "paper_std", "difference")
    tests = (*INTERVAL, "better", "worse", "p", "p_holm", "rank_biserial")
    policies = ("policy", "images", "score", "mean", "std")
    costs = ("parameters", "gflops", "training_seconds_per_fold", "inference_seconds_per_image", "placement", "commits")
    leakage = ("recipe", "data", "with_normal", "paired", "leaking_images", "score", "paper", "grouped", *INTERVAL)
    return {
        "tables.csv": _text((*PLACE, "score", "region", *ours), _scores(results.blocks)),
        "comparisons.csv": _text((*PLACE, "score", "region", *tests), _tests(results.blocks)),
        "leakage.csv": _text(leakage, _leakage(results)),
        "empty-truths.csv": _text((*RUN, *policies), _policies(results.methods)),
        "costs.csv": _text((*RUN, *costs), _costs(results.methods)),
    }


def _place(block: Block, title: str, recipe: str | None) -> tuple[Value, ...]:
    part = block.part
    return (
        block.table.name,
        block.scale,
        block.protocol,
        part.trained_on,
        part.tested_on,
        part.include_normal,
        title,
        recipe,
    )


def _scores(blocks: Sequence[Block]) -> Iterator[Sequence[Value]]:
    for block in blocks:
        for row in block.rows:
            method = row.method
            extent = (None, None, None) if method is None else _extent(method)
            for place, (column, score, printed) in enumerate(
                zip(block.part.columns, row.scores, row.row.figures, strict=True)
            ):
                yield (
                    *_place(block, row.row.title, None if method is None else method.name),
                    *(column.score, column.region, *extent, score.mean, score.std),
                    *(printed.mean, printed.std, row.difference(place)),
                )


def _tests(blocks: Sequence[Block]) -> Iterator[Sequence[Value]]:
    for block in blocks:
        for row in block.rows:
            for one in row.tests:
                test = one.test
                yield (
                    *_place(block, row.row.title, None if row.method is None else row.method.name),
                    *(one.column.score, one.column.region),
                    *(test.difference.mean, test.difference.low, test.difference.high),
                    *(test.images, test.difference.clusters, test.better, test.worse),
                    *(test.p, one.p_holm, test.effect),
                )


def _leakage(results: ComparisonResults) -> Iterator[Sequence[Value]]:
    for one in results.leakage:
        file = one.paper.first.file
        for delta in one.deltas:
            found = delta.difference
            yield (
                *(one.paper.name, file.dataset, file.experiment.data.include_normal, one.paired, one.leaking),
                *(delta.score, delta.paper, delta.grouped),
                *(found.mean, found.low, found.high, found.images, found.clusters),
            )


def _policies(methods: Sequence[Method]) -> Iterator[Sequence[Value]]:
    for method in methods:
        if not method.normals.images:
            continue
        for policy in (None, *POLICIES):
            selection = Selection() if policy is None else Selection("all", policy)
            for name in ("dice", "jaccard", "precision", "sensitivity"):
                score = method.score(selection, name)
                told = policy or "lesion images only"
                yield (*_run(method), told, method.images(selection), name, score.mean, score.std)


def _costs(methods: Sequence[Method]) -> Iterator[Sequence[Value]]:
    for method in methods:
        file = method.first.file
        yield (
            *_run(method),
            *(file.parameters, file.gflops, method.seconds_per_fold, method.inference_seconds),
            *(file.placement, " ".join(file.commits)),
        )


def _run(method: Method) -> tuple[Value, ...]:
    file = method.first.file
    normal = file.experiment.data.include_normal
    return (method.name, file.dataset, method.first.tested_on, normal, file.protocol, *_extent(method))


def _extent(method: Method) -> tuple[Value, ...]:
    return (len(method.folds_done), method.first.file.folds, len(method.runs))


def _text(head: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    memory = io.StringIO()
    writer = csv.writer(memory, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"a row of {len(row)} values under {len(head)} headings")
        writer.writerow(["" if value is None or value != value else _plain(value) for value in row])
    return memory.getvalue()


def _plain(value: Value) -> Value:
    return str(value).lower() if isinstance(value, bool) else escape_cell(value)
