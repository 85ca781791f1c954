"""`taichinet figures`: the paper's result figures, drawn from completed runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import AsJson, Overwrite, Runs, TrustCode

if TYPE_CHECKING:
    from taichinet.reports.figures.catalogue import DrawnFigures


def figures(
    runs: Runs,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="DATA",
            help="Data set of the runs. Repeatable: figure 11 has one row per data set; the others show the first.",
        ),
    ],
    figure: Annotated[
        list[int] | None, typer.Option(metavar="N", help="4, 7, 8, 9, 11 or 12; repeatable. Default: all figures.")
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Key of an image to show, such as 'benign (12)'; repeatable."),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=8, help="Number of images if no --case is given (figure 12: per failure kind)."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECIPE",
            help="Figure 11: recipe without its scale, e.g. unet; repeatable. Default: the paper's eight.",
        ),
    ] = None,
    dpi: Annotated[
        int, typer.Option(metavar="N", min=72, max=1200, help="Pixels per inch: 300 for print, 150 for screen.")
    ] = 300,
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Folder for fig-N.png, .pdf and .json.")
    ] = Path("figures"),
    trust_code: TrustCode = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Draw figures 4, 7, 8, 9, 11 and 12 of the paper from RUNS, as PNG and PDF, with their content as JSON.

    The figures contain images of the data set: publish them only if its licence permits this.
    """
    from taichinet.reports.figures.catalogue import FIGURES, draw_figures, refuse_unknown_figures
    from taichinet.reports.figures.sheet import figure_files
    from taichinet.reports.figures.source import Request, find_runs, open_source
    from taichinet.storage.output_folder import refuse_foreign_files

    numbers = list(dict.fromkeys(figure or FIGURES))
    refuse_unknown_figures(numbers)
    refuse_foreign_files(out, [name for number in numbers for name in figure_files(number)], overwrite)
    use_and_print(device)
    completed_runs = find_runs(runs)
    sources = tuple(open_source(spec, completed_runs, runs, trust_code) for spec in data)
    request = Request(tuple(case or ()), rows, tuple(method or ()))
    drawn = draw_figures(numbers, sources, request, out, dpi)
    _print_result(drawn, out, as_json)
    _raise_failures(drawn, len(numbers))


def _print_result(drawn: DrawnFigures, out: Path, as_json: bool) -> None:
    """Print the files of each figure."""
    import json

    from rich.console import Console

    if as_json:
        done = [{"figure": sheet.number, "files": [file.name for file in files]} for sheet, files in drawn.sheets]
        failed = [{"figure": number, "reason": str(error)} for number, error in drawn.failed]
        print(json.dumps({"written": str(out), "figures": done, "failed": failed}))
        return
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    for sheet, (png, pdf, record) in drawn.sheets:
        console.print(f"Figure {sheet.number}: {png}, {pdf.name}, {record.name}")
        if absent := [kind for kind, cases in sheet.provenance.get("found", {}).items() if not cases]:
            console.print(f"  no failure of the kind '{', '.join(absent)}' was found")


def _raise_failures(drawn: DrawnFigures, count: int) -> None:
    """Raise an error for figures that could not be drawn."""
    from taichinet.errors import PartialFailureError

    if drawn.failed and not drawn.sheets and len(drawn.failed) == 1:
        raise drawn.failed[0][1]
    if drawn.failed:
        reasons = "\n  - ".join(f"figure {number}: {error}" for number, error in drawn.failed)
        raise PartialFailureError(f"{len(drawn.failed)} of {count} figures could not be drawn:\n  - {reasons}")
