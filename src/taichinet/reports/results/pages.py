"""`taichinet report RUNS -o FILE.md`: the verdict and one table, and a page for each further question beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taichinet.evaluation.uncertainty import RESAMPLES
from taichinet.experiments.records import SUMMARY_FILE, StudyRecord
from taichinet.reports.document.markdown import document_markdown
from taichinet.reports.document.model import Document, Links, Note, Section
from taichinet.reports.paper_tables.main_networks import table_blocks
from taichinet.reports.paper_tables.overview import make_overview
from taichinet.reports.paper_tables.runs import find_trained_on_all, read_groups, read_methods
from taichinet.reports.paper_tables.sections import detection_of
from taichinet.reports.paper_tables.verdict import answer_blocks, verdict_blocks
from taichinet.reports.paper_tables.write import HEADER
from taichinet.reports.results.all_runs import all_runs_document
from taichinet.reports.results.trainings import trainings_document
from taichinet.storage.atomic import write_text
from taichinet.storage.output_folder import refuse_foreign_page

PAGES = {
    "all-runs": "All scores of every run, by class and region, also of incomplete runs, ablations and variants",
    "detection": "Lesions found and false positives, also by lesion size and class",
    "trainings": "How each network was trained: differences from the paper, cost, machines",
}


@dataclass(frozen=True)
class ResultPages:
    """The pages by path, the first page last, since it links to the others; `runs` is the number of trainings."""

    documents: dict[Path, Document]
    runs: int


def write_pages(runs: Path, out: Path, overwrite: bool = False, resamples: int = RESAMPLES) -> ResultPages:
    """Write `out` and, beside it, a page for each of `PAGES`: `results.md` and `results-all-runs.md`, ...

    Args:
        runs: The folder of the runs.
        out: The first page, a .md file.
        overwrite: Whether to replace files that were not written by this command.
        resamples: Number of bootstrap resamples.

    Returns:
        The pages.

    Raises:
        DataError: The runs cannot be read.
        StorageError: One of the files was not written by this command; nothing is written.
    """
    for path in (out, *page_paths(out).values()):
        refuse_foreign_page(path, HEADER, overwrite)
    pages = make_pages(runs, out, resamples)
    for path, document in pages.documents.items():
        write_text(path, document_markdown(document, HEADER))
    return pages


def page_paths(out: Path) -> dict[str, Path]:
    """The files of `PAGES` beside `out`."""
    return {name: out.with_name(f"{out.stem}-{name}{out.suffix}") for name in PAGES}


def make_pages(runs: Path, out: Path, resamples: int = RESAMPLES) -> ResultPages:
    """The content of all pages, see `write_pages`."""
    methods = read_methods(runs)
    records: dict[Path, StudyRecord] = {
        run.folder / SUMMARY_FILE: run.file for method in methods for run in method.runs if method.own_data
    }
    studies = list(records.values())
    overview = make_overview(methods, read_groups(runs), resamples)
    paths = page_paths(out)
    links = Links(tuple((paths[name].name, text) for name, text in PAGES.items()))
    tables = "`taichinet report RUNS -o FOLDER` writes the tables of the paper with our results beside them."
    sections = (
        Section("", "Verdict", tuple(verdict_blocks(overview))),
        Section("", "The main networks", tuple(table_blocks(overview))),
        *([Section("", "All comparisons", tuple(answers))] if (answers := answer_blocks(overview)) else []),
        Section("", "Further pages", (links, Note(tables))),
    )
    found = detection_of(methods) or [Note("No run has recorded the detection of lesions. Evaluate it again.")]
    detection = Section("", "All runs with recorded detection", tuple(found))
    documents = {
        paths["all-runs"]: all_runs_document(studies),
        paths["detection"]: Document("Detection of lesions and false positives", (), (detection,)),
        paths["trainings"]: trainings_document(studies, find_trained_on_all(records)),
        out: Document("Results", (), sections),
    }
    return ResultPages(documents, len(studies))
