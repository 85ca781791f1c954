"""`taichinet report`: the paper's tables with our results in a folder, or all results as one Markdown file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import Overwrite


def report(
    results: Annotated[
        Path,
        typer.Argument(metavar="RUNS", help="Folder of all runs: `train`'s --out, or one above it."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR|FILE.md",
            help="Folder for the page, Markdown, LaTeX and CSV; or one Markdown file with a line for each recipe.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Data set whose worst cases the page shows, repeatable; it then holds its pictures."),
    ] = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="RECIPE RECIPE", help="The two recipes that the page's scatter opens with."),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the first recipe's worst cases are drawn.")] = 24,
    overwrite: Overwrite = False,
) -> None:
    """Write Tables I to VII, ours beside the printed figures, from every run under RUNS."""
    from rich.console import Console

    from taichinet.errors import SettingError

    console = Console(stderr=True)
    if out.suffix.lower() == ".md":
        from taichinet.reports.comparison.write import HEADER
        from taichinet.reports.document.markdown import document_markdown
        from taichinet.reports.summaries import read_summaries
        from taichinet.reports.tables import results_document
        from taichinet.storage.atomic import write_text
        from taichinet.storage.output_folder import refuse_foreign_page

        if data or pair:
            raise SettingError("--data and --pair are of the report's page. Give a folder as --out, not a .md file.")
        refuse_foreign_page(out, HEADER, overwrite)
        summaries = read_summaries(results)
        write_text(out, document_markdown(results_document(summaries), HEADER))
        console.print(f"{len(summaries)} results in {out}", soft_wrap=True, markup=False)
        return
    from taichinet.reports.comparison.write import write_report

    if out.is_file():
        raise SettingError(f"{out} is a file. Give a folder as --out, or a name that ends in .md.")
    found = write_report(results, out, data or (), pair, worst, overwrite=overwrite)
    rows = sum(len(block.filled) for block in found.blocks)
    console.print(
        f"{len(found.methods)} recipes fill {rows} rows. Look at {out / 'index.html'}", soft_wrap=True, markup=False
    )
