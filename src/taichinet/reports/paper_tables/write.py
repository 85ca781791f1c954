"""Write the report: HTML page, Markdown, LaTeX and CSV files of all runs below a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from taichinet.evaluation.uncertainty import RESAMPLES
from taichinet.reports.document.html import data_uri, document_html
from taichinet.reports.document.latex import document_latex
from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.reports.document.model import Document, Legend, LegendItem
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH
from taichinet.reports.paper_tables.cases import WORST, CaseStudy, Pair, case_studies, with_overlays
from taichinet.reports.paper_tables.long_form import csv_files
from taichinet.reports.paper_tables.results import ComparisonResults, read_results
from taichinet.reports.paper_tables.sections import make_document
from taichinet.storage.atomic import write_text
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


def write_report(
    runs: Path,
    out: Path,
    data: Sequence[str] = (),
    pair: Pair | None = None,
    worst: int = WORST,
    resamples: int = RESAMPLES,
    overwrite: bool = False,
) -> ComparisonResults:
    """Write index.html, report.md, report.tex and the CSV files.

    Args:
        runs: The folder of the runs.
        out: The output folder.
        data: Data sets whose worst cases the page shows, predicted with the weights in the run folders. The page then
            contains their images and is subject to their licences.
        pair: The recipes that the scatter plot shows at first.
        worst: Number of worst cases.
        resamples: Number of bootstrap resamples.
        overwrite: Replace files in `out` that were not written by a report.

    Returns:
        The results.

    Raises:
        DataError: The runs cannot be read, or `data` has other images than those that were scored.
        SettingError: `pair` was not run on the same data and folds.
        StorageError: A file in `out` was not written by a report, and `overwrite` is false; nothing is written.
    """
    results = read_results(runs, resamples=resamples)
    studies = with_overlays(case_studies(results.methods, pair), data, worst)
    document = make_document(results)
    files = {
        "report.md": document_markdown(document, HEADER),
        "report.tex": document_latex(document),
        **csv_files(results),
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
