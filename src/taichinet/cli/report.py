"""`taichinet report`: verdict, results and tables of the paper, as a folder of pages or as Markdown pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import Against, AsJson, Overwrite, Runs, TrustCode

if TYPE_CHECKING:
    from rich.console import Console

Scores = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]DIR",
        help="Folder that `score` or `evaluate` wrote, e.g. nnU-Net=nnunet-scores: shown and compared, too; "
        "repeatable.",
    ),
]

Worst = Annotated[int, typer.Option(metavar="N", min=0, help="Number of worst cases of the first recipe to show.")]


def report(
    results: Runs,
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Folder for the HTML page, Markdown, LaTeX and CSV; or a Markdown file for the verdict and one table, "
            "with further pages beside it.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA", help="Data set whose worst cases are shown; repeatable. The page then contains its images."
        ),
    ] = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="RECIPE RECIPE", help="The two recipes that the scatter plot shows at first."),
    ] = None,
    worst: Worst = 24,
    against: Against = None,
    scores: Scores = None,
    trust_code: TrustCode = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare the networks of all runs in RUNS, and write their results next to those of the paper's tables."""
    from rich.console import Console

    from taichinet.errors import SettingError

    console = Console(stderr=True, quiet=as_json, soft_wrap=True, markup=False)
    use_and_print(device, computes=bool(data))
    if out.suffix.lower() == ".md":
        if data or pair or against or scores:
            raise SettingError(
                "--data, --pair, --against and --scores need the whole report. Give a folder as --output, not a .md "
                "file."
            )
        _write_pages(results, out, overwrite, console, as_json)
        return
    from taichinet.reports.paper_tables.against import verdict_sentence
    from taichinet.reports.paper_tables.evaluations import read_evaluation
    from taichinet.reports.paper_tables.write import ReportOptions, write_report

    if out.is_file():
        raise SettingError(f"{out} is a file. Give a folder or a file name ending in .md as --output.")
    evaluations = [read_evaluation(spec) for spec in scores or ()]
    options = ReportOptions(data or (), pair, worst, trust_code, evaluations, against)
    written = write_report(results, out, options, overwrite)
    for comparison in () if written.against is None else written.against.comparisons:
        console.print(verdict_sentence(comparison).replace("`", ""))
    rows = sum(len(block.filled) for block in written.blocks)
    filled = f"{rows or 'no'} row{'s have' if rows != 1 else ' has'} a result"
    console.print(f"{len(written.methods)} results read; in the paper's tables {filled}. Report: {out / 'index.html'}")
    _print_json(as_json, out, rows=rows, recipes=[method.name for method in written.methods])


def _write_pages(runs: Path, out: Path, overwrite: bool, console: Console, as_json: bool) -> None:
    """Write the Markdown pages, and print their names."""
    from taichinet.reports.results.pages import write_pages

    pages = write_pages(runs, out, overwrite)
    *further, _ = (path.name for path in pages.documents)
    console.print(
        f"{pages.runs} result{'s' * (pages.runs != 1)}. Verdict and table: {out}. Beside it: {', '.join(further)}."
    )
    _print_json(as_json, out, results=pages.runs)


def _print_json(wanted: bool, out: Path, **content: Any) -> None:
    import json

    if wanted:
        print(json.dumps({"written": str(out), **content}))
