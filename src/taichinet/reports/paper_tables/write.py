"""Write the report: HTML page, Markdown, LaTeX and CSV files of all runs below a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from taichinet.evaluation.uncertainty import RESAMPLES, Interval
from taichinet.evaluation.undefined import POLICIES, SCORES, SIZES
from taichinet.reports.document.html import data_uri, document_html
from taichinet.reports.document.latex import document_latex
from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.reports.document.model import Document, Legend, LegendItem
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH
from taichinet.reports.paper_tables.cases import WORST, CaseStudy, Pair, case_studies, with_overlays
from taichinet.reports.paper_tables.comparisons import Against
from taichinet.reports.paper_tables.evaluations import Evaluated
from taichinet.reports.paper_tables.results import Block, BlockRow, ComparisonResults, read_results
from taichinet.reports.paper_tables.runs import Method
from taichinet.reports.paper_tables.sections import make_document
from taichinet.reports.paper_tables.tested import Selection
from taichinet.storage.atomic import write_text
from taichinet.storage.csv_cells import escape_cell
from taichinet.storage.output_folder import output_files, refuse_foreign_files

HEADER = generated_by("taichinet report")
TEMPLATE = "paper_tables/page.html"
CONTOURS = Legend(
    (
        LegendItem("ground truth", (TRUTH.colour,)),
        LegendItem("first network", (PREDICTION.colour,), "dashed"),
        LegendItem("second network", (SECOND.colour,), "dotted"),
    )
)
# Columns of the CSV files.
PLACE = "table scale protocol trained_on tested_on with_normal row recipe"
RUN = "recipe trained_on tested_on with_normal protocol folds_done folds seeds"
INTERVAL = "difference low high images clusters"
OURS = "folds_done folds seeds ours_mean ours_std paper_mean paper_std difference"
TESTS = f"{INTERVAL} better worse p p_holm rank_biserial"
AGAINST = f"method reference trained_on tested_on protocol region common_folds {TESTS} verdict"
EVALUATIONS = "name trained_on tested_on protocol group policy images score resolution mean std"
LEAKAGE = f"recipe data with_normal paired leaking_images score paper grouped {INTERVAL}"
COSTS = "parameters gflops training_seconds_per_fold inference_seconds_per_image placement commits"
Row = Sequence[Any]


@dataclass(frozen=True)
class ReportOptions:
    """What a report contains beside the tables of the paper.

    Attributes:
        data: Data sets whose worst cases the page shows, predicted with the weights in the run folders. The page then
            contains their images and is subject to their licences.
        pair: The recipes that the scatter plot shows at first.
        worst: Number of worst cases.
        trust_code: Whether the code of networks from outside the package may be executed to predict them.
        evaluations: Evaluations and scored predictions, see `read_evaluation`.
        against: Name of the method with which all others are compared.
        resamples: Number of bootstrap resamples.
    """

    data: Sequence[str] = ()
    pair: Pair | None = None
    worst: int = WORST
    trust_code: bool = False
    evaluations: Sequence[Evaluated] = ()
    against: str | None = None
    resamples: int = RESAMPLES


def write_report(
    runs: Path, out: Path, options: ReportOptions | None = None, overwrite: bool = False
) -> ComparisonResults:
    """Write index.html, report.md, report.tex and the CSV files.

    Args:
        runs: The folder of the runs.
        out: The output folder.
        options: What is shown and compared; default: the tables of the paper.
        overwrite: Replace files in `out` that were not written by a report.

    Returns:
        The results.

    Raises:
        DataError: The runs cannot be read, or `data` has other images than those that were scored.
        FoldError: Nothing can be compared with `against`.
        SettingError: `pair` was not run on the same data and folds, or `against` is not the name of one method.
        StorageError: A file in `out` was not written by a report, and `overwrite` is false; nothing is written.
        WeightsError: `data` needs weights whose code is not trusted.
    """
    options = options or ReportOptions()
    results = read_results(runs, options.resamples, options.evaluations, options.against)
    cases = case_studies(results.methods, options.pair)
    studies = with_overlays(cases, options.data, options.worst, options.trust_code)
    document = make_document(results)
    files = {
        "report.md": document_markdown(document, HEADER),
        "report.tex": document_latex(document),
        **_csv_files(results),
        "index.html": _page(document, studies),
    }
    refuse_foreign_files(out, files, overwrite)
    with output_files(out) as temporary:
        for name, text in files.items():
            write_text(temporary / name, text)
    return results


def _page(document: Document, studies: Sequence[CaseStudy]) -> str:
    """The HTML page: the document, and a scatter plot of two methods image by image."""
    data = _script_json([_study_data(study) for study in studies])
    return document_html(document, template=TEMPLATE, studies=studies, data=data, contours=CONTOURS)


def _study_data(study: CaseStudy) -> dict[str, object]:
    return {
        "title": study.title,
        "keys": study.keys,
        "dice": {
            name: [None if value is None else round(value, 4) for value in values]
            for name, values in study.dice.items()
        },
        "first": study.first.name,
        "second": study.second.name,
        "images": {key: data_uri(image) for key, image in study.images.items()},
        "note": study.note.replace("`", ""),
    }


def _script_json(value: object) -> Markup:
    """JSON for a script element, without characters that could end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704  every sign with a meaning in HTML was replaced above


def _csv_files(results: ComparisonResults) -> dict[str, str]:
    """The text of every CSV file by its name: one unrounded value per row, empty if it was not measured."""
    return {
        "tables.csv": _csv(f"{PLACE} score region {OURS}", _scores(results.blocks)),
        "comparisons.csv": _csv(f"{PLACE} score region {TESTS}", _tests(results.blocks)),
        "against.csv": _csv(AGAINST, _against(results.against)),
        "evaluations.csv": _csv(EVALUATIONS, _evaluations(results.evaluations)),
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
        for entry in block.tests:
            test = entry.test
            values = (test.better, test.worse, test.p, entry.p_holm, test.effect)
            column = (entry.column.score, entry.column.region)
            yield *_place(block, entry.row), *column, *_interval(test.difference), *values


def _against(against: Against | None) -> Iterable[Row]:
    for entry in () if against is None else against.comparisons:
        method, test = entry.method, entry.test
        names = (method.name, entry.reference.name, method.trained_on, method.tested_on, entry.reference.protocol)
        values = (test.better, test.worse, test.p, entry.p_holm, test.effect, entry.verdict)
        yield *names, entry.region, " ".join(map(str, entry.folds)), *_interval(test.difference), *values


def _evaluations(evaluations: Sequence[Evaluated]) -> Iterable[Row]:
    for entry in evaluations:
        names = (entry.name, entry.trained_on, entry.tested_on, entry.protocol)
        for group in entry.record.summary.groups:
            for size, name in product(SIZES, SCORES):
                score = group.score(name, size)
                yield *names, group.group, group.policy, group.images, name, size, score.mean, score.std


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
