"""The verdicts that `compare --against` prints at its end: paired tests of the trained recipes against one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from taichinet.experiments.grid.cells import Grid
    from taichinet.experiments.grid.suite import Suite
    from taichinet.reports.paper_tables.comparisons import Against


def reference_name(suite: Suite) -> str:
    """The name in reports of the recipe of `suite`, which is that of `--against`."""
    from taichinet.experiments.grid.cells import part_recipes
    from taichinet.reports.paper_tables.runs import base_name

    return base_name(part_recipes(suite, suite.parts[0])[0].name)


def compare_grid(grid: Grid, reference: str, out: Path) -> Against | None:
    """Compare the completed studies of a grid with the recipe `reference`; None, with the reason, if that fails."""
    from taichinet.errors import DataError, FoldError, SettingError
    from taichinet.evaluation.uncertainty import RESAMPLES
    from taichinet.experiments.records import SUMMARY_FILE
    from taichinet.reports.paper_tables.comparisons import compare_against
    from taichinet.reports.paper_tables.runs import read_groups, read_methods

    studies = dict.fromkeys(cell.folder.parent for cell in grid.cells)
    completed = [study for study in studies if (study / SUMMARY_FILE).is_file()]
    if not completed:
        typer.echo(f"No comparison with {reference}: no fold is completed.", err=True)
        return None
    try:
        methods = read_methods(*completed)
        return compare_against(methods, reference, read_groups(out), RESAMPLES)
    except (DataError, FoldError, SettingError) as error:
        typer.echo(f"No comparison with {reference}: {error}", err=True)
        return None


def print_against(against: Against) -> None:
    """Print a table and a sentence for each comparison, and why others were not made."""
    from rich.console import Console

    from taichinet.reports.paper_tables.against import verdict_sentence

    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"Compared with {against.reference} on the same images and folds (Dice of lesion images at original "
        "resolution; 95 % bootstrap interval; Wilcoxon test with Holm's correction):"
    )
    for comparison in against.comparisons:
        console.print(f"  {verdict_sentence(comparison).replace('`', '')}")
    for method, reason in against.refused:
        console.print(f"  {method.name} was not compared: {reason}.")


def against_json(against: Against | None) -> dict[str, Any] | None:
    """The comparisons as values of JSON; None without any."""
    if against is None:
        return None
    rows = [
        {
            "method": comparison.method.name,
            "trained_on": comparison.method.trained_on,
            "tested_on": comparison.method.tested_on,
            "region": comparison.region,
            "folds": list(comparison.folds),
            "images": comparison.test.images,
            "difference": comparison.test.difference.mean,
            "interval": [comparison.test.difference.low, comparison.test.difference.high]
            if comparison.test.difference.bounded
            else None,
            "p": _number(comparison.test.p),
            "p_holm": _number(comparison.p_holm),
            "effect": comparison.test.effect,
            "verdict": comparison.verdict,
        }
        for comparison in against.comparisons
    ]
    refused = [{"method": method.name, "why": reason} for method, reason in against.refused]
    return {"reference": against.reference, "comparisons": rows, "not_compared": refused}


def _number(value: float) -> float | None:
    """None in place of NaN, which is not JSON."""
    return None if value != value else value
