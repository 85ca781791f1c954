"""`taichinet figures`: the paper's figures of results, from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import Overwrite


def figures(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of runs: `train`'s --out, or one above it.")],
    data: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]DIR",
            help="The data set of the runs. Repeatable for figure 11, which has a row for each; the others show the "
            "first.",
        ),
    ],
    figure: Annotated[
        list[int] | None, typer.Option(help="4, 7, 8, 9, 11 or 12; repeatable, all where left out.")
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option(help="Image to show, by key such as 'benign (12)'; repeatable.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, max=8, help="Images to show where none are named (figure 12: of each kind).")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Figure 11: a recipe without its scale, e.g. unet; repeatable, the paper's eight by default."
        ),
    ] = None,
    dpi: Annotated[int, typer.Option(min=72, max=1200, help="Pixels an inch; 300 for print, 150 for a screen.")] = 300,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for fig-N.png, .pdf and .json.")] = Path("figures"),
    overwrite: Overwrite = False,
) -> None:
    """Draw figures 4, 7, 8, 9, 11 and 12 of the paper from RUNS: PNG, PDF, and what they show as JSON.

    They hold the data set's pictures: keep them where those may be.
    """
    from rich.console import Console

    from taichinet.errors import PartialFailureError
    from taichinet.reports.figures.cases import Request
    from taichinet.reports.figures.catalogue import FIGURES, draw_figures, refuse_unknown_figures
    from taichinet.reports.figures.layout import figure_files
    from taichinet.reports.figures.runs import find_runs
    from taichinet.reports.figures.source import open_source
    from taichinet.storage.output_folder import refuse_foreign_files

    numbers = list(dict.fromkeys(figure or FIGURES))
    refuse_unknown_figures(numbers)
    refuse_foreign_files(out, [name for number in numbers for name in figure_files(number)], overwrite)
    found = find_runs(runs)
    sources = tuple(open_source(spec, found, runs) for spec in data)
    request = Request(tuple(case or ()), rows, tuple(method or ()))
    drawn = draw_figures(numbers, sources, request, out, dpi)
    console = Console(stderr=True)
    for sheet, (png, pdf, record) in drawn.sheets:
        files = f"{png}, {pdf.name}, {record.name}"
        console.print(f"Figure {sheet.number}: {files}", soft_wrap=True, markup=False, highlight=False)
        if absent := [kind for kind, count in sheet.made.get("found", {}).items() if not count]:
            console.print(f"  no failure of the kind '{', '.join(absent)}' was found", markup=False)
    if drawn.failed and not drawn.sheets and len(drawn.failed) == 1:
        raise drawn.failed[0][1]
    if drawn.failed:
        reasons = "\n  - ".join(f"figure {number}: {error}" for number, error in drawn.failed)
        raise PartialFailureError(f"{len(drawn.failed)} of {len(numbers)} figures could not be drawn:\n  - {reasons}")
