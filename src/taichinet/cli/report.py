"""`taichinet report`: the results of all trained recipes as Markdown tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[
        Path,
        typer.Argument(metavar="RESULTS_DIR", help="Folder of all runs: `train`'s --out, or one above it."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.md", help="Markdown file to write.")],
) -> None:
    """Write the tables of every summary.json under RESULTS_DIR."""
    from rich.console import Console

    from taichinet.reports.summaries import read_summaries
    from taichinet.reports.tables import results_table

    summaries = read_summaries(results)
    text = results_table(summaries)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(out)
    Console(stderr=True).print(f"{len(summaries)} results in {out}", soft_wrap=True, markup=False)
