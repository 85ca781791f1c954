"""write_report: from a folder of runs to the report's files in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taichinet.evaluation.uncertainty import RESAMPLES
from taichinet.reports.comparison.case_overlays import WORST, with_overlays
from taichinet.reports.comparison.cases import Pair, case_studies
from taichinet.reports.comparison.html import comparison_html
from taichinet.reports.comparison.long_form import csv_files
from taichinet.reports.comparison.results import ComparisonResults, read_results
from taichinet.reports.comparison.sections import make_document
from taichinet.reports.document.latex import document_latex
from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.storage.atomic import write_text
from taichinet.storage.output_folder import output_files, refuse_foreign_files

HEADER = generated_by("taichinet report")


def write_report(
    runs: Path,
    out: Path,
    data: Sequence[str] = (),
    pair: Pair | None = None,
    worst: int = WORST,
    resamples: int = RESAMPLES,
    overwrite: bool = False,
) -> ComparisonResults:
    """Write index.html, report.md, report.tex and the CSV files of all runs below `runs` into the folder `out`.

    With `data`, the page shows the `worst` cases of two methods, drawn anew from the weights in the run folders. It
    then holds pictures of the data set: keep it where the data may be. Raises StorageError, and writes nothing, if a
    file of `out` would be replaced that an earlier report did not write, unless `overwrite` is true.
    """
    results = read_results(runs, resamples=resamples)
    studies = with_overlays(case_studies(results.methods, pair), data, worst)
    document = make_document(results)
    files = {
        "report.md": document_markdown(document, HEADER),
        "report.tex": document_latex(document),
        **csv_files(results),
        "index.html": comparison_html(document, studies),
    }
    refuse_foreign_files(out, files, overwrite)
    with output_files(out) as temporary:
        for name, text in files.items():
            write_text(temporary / name, text)
    return results
