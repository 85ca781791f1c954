"""`taichinet compare --budget`: the time as typed, and the list of the runs that are left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.console import Console

from taichinet.errors import SettingError
from taichinet.experiments.grid.budget import Budget
from taichinet.experiments.grid.cells import Cell
from taichinet.experiments.grid.progress import Entry, Progress
from taichinet.reports.document.format import duration

EXIT_CODE = 9


def parse_time(text: str) -> float:
    """Seconds of a time such as 90s, 10m or 1h30m; raises SettingError for other texts and for 0."""
    match = re.fullmatch(r"(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,5})s)?", text.strip())
    hours, minutes, seconds = (int(number or 0) for number in match.groups()) if match else (0, 0, 0)
    if not (total := 3600 * hours + 60 * minutes + seconds):
        raise SettingError(
            f"--budget '{text[:100]}' is not a time. Write hours, minutes and seconds with their units, e.g. 90s, 10m "
            "or 1h30m."
        )
    return float(total)


def unfinished_rows(progress: Progress, out: Path) -> list[dict[str, Any]]:
    """What is left, for --json: folder, completed epochs, and the estimated seconds (None without a measurement)."""
    return [
        {
            "cell": entry.task.title,
            "folder": str(entry.task.folder.relative_to(out.absolute())),
            "epoch": entry.epoch,
            "epochs": entry.epochs,
            "estimated_seconds": None if entry.estimate is None else round(entry.estimate, 1),
        }
        for entry in progress.unfinished
    ]


def print_unfinished(progress: Progress, budget: Budget) -> None:
    """Print what is left to standard error, one line for each run."""
    console = Console(stderr=True)
    if not progress.unfinished:
        return
    console.print(
        f"{len(progress.unfinished)} left at the end of the budget of {duration(budget.total)}. The same command "
        "continues:",
        soft_wrap=True,
        highlight=False,
    )
    for entry in progress.unfinished:
        console.print(f"  - {entry.task.title}: {_describe(entry)}", soft_wrap=True, markup=False, highlight=False)


def _describe(entry: Entry) -> str:
    if entry.copy_of is not None:
        return f"will be copied from {entry.copy_of.title}"
    needs = "needs an unknown time" if entry.estimate is None else f"needs about {duration(entry.estimate)}"
    if not isinstance(entry.task, Cell):
        return f"evaluation, {needs}"
    return f"{needs}, {entry.epoch} of {entry.epochs} epochs completed"
