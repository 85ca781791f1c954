"""Summaries on the terminal: a table for people, or JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from taichinet.evaluation.aggregate import GroupScores, Summary
from taichinet.experiments.cross_validate import Study

HEADINGS = {"dice": "DI", "jaccard": "JA", "accuracy": "ACC", "precision": "PR", "sensitivity": "SE"}
POLICY_NAMES = {"paper": "empty truth scores 0", "correct-empty-is-1": "empty on empty scores 1"}


def print_study(folder: Path | None, summary: Summary, as_json: bool) -> None:
    """The scores of a study and where its files lie, if any were written."""
    if as_json:
        print(json.dumps({"folder": None if folder is None else str(folder), "summary": summary.to_json_dict()}))
        return
    console = Console()
    console.print(summary_table(summary))
    normal = summary.normal
    if normal.images:
        console.print(
            f"Normal images: {normal.images}; false-positive rate {normal.false_positive_rate:.3f}, "
            f"mean false-positive area {normal.mean_false_positive_area:.4f} of the image."
        )
    if folder is not None:
        console.print(f"Written to {folder}", soft_wrap=True)


def summary_table(summary: Summary) -> Table:
    """Mean and standard deviation over folds of every group, at network and at native size."""
    table = Table(title="Mean ± standard deviation over folds")
    table.add_column("images")
    table.add_column("n", justify="right")
    for heading in (*HEADINGS.values(), "HD95", "ASSD", "DI native", "HD95 native"):
        table.add_column(heading, justify="right")
    for group in summary.groups:
        if not group.images:
            continue
        name = group.group if group.policy is None else f"{group.group} ({POLICY_NAMES[group.policy]})"
        cells = [_cell(group, "network", score) for score in HEADINGS]
        cells += [_cell(group, "network", "hd95", 1), _cell(group, "network", "assd", 1)]
        cells += [_cell(group, "native", "dice"), _cell(group, "native", "hd95", 1)]
        table.add_row(name, str(group.images), *cells)
    return table


def _cell(group: GroupScores, size: str, score: str, digits: int = 3) -> str:
    value = group.scores[size][score]  # type: ignore[index]
    deviation = "" if value.std is None else f" ± {value.std:.{digits}f}"
    return f"{value.mean:.{digits}f}{deviation}"


def print_demo(page: Path, studies: list[Study], seconds: float, as_json: bool) -> None:
    """The demo's scores side by side, and what to look at."""
    if as_json:
        print(json.dumps({"page": str(page), "results": [study.folds[0].result for study in studies]}))
        return
    console = Console()
    table = Table(title="Test fold of the phantoms (lesion images, network size)")
    for heading in ("network", "parameters", *HEADINGS.values(), "HD95"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for study in studies:
        result = study.folds[0].result
        lesion = study.summary.lesion
        cells = [_cell(lesion, "network", score) for score in HEADINGS]
        table.add_row(
            result["experiment"]["name"],
            f"{result['parameters']:,}",
            *cells,
            _cell(lesion, "network", "hd95", 1),
        )
    console.print(table)
    console.print(f"Done in {seconds:.0f} s. Look at [bold]{page}[/]", soft_wrap=True)
