"""Training progress: one bar per phase on a terminal, otherwise one line per epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PHASES = {"mine": "mining easy and hard pixels (U-Net++)", "train": "training"}


class TrainingProgress:
    """Display epochs of `run_fold` on standard error, which keeps standard output free for --json."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._tasks: dict[str, Any] = {}
        self._title = ""

    def begin(self, title: str) -> None:
        """Start new bars, for the next network or fold."""
        for task in self._tasks.values():
            self._progress.update(task, visible=False)
        self._tasks = {}
        self._title = title

    def epoch(self, phase: str, row: dict[str, Any], epochs: int) -> None:
        """Display a completed epoch of `phase`."""
        dice = row["validation_dice"]
        score = "" if dice != dice else f" · validation Dice {dice:.3f}"
        text = f"{self._title} · {PHASES[phase]} · loss {row['loss']:.3f}{score}"
        if not self._console.is_terminal:
            self._console.print(
                f"{text} · epoch {row['epoch']}/{epochs} · {row['seconds']:.1f} s", soft_wrap=True, markup=False
            )
            return
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(text, total=epochs)
        self._progress.update(self._tasks[phase], completed=row["epoch"], description=text)


@contextmanager
def training_progress(quiet: bool = False) -> Iterator[TrainingProgress]:
    """Show progress bars while the block runs."""
    console = Console(stderr=True, quiet=quiet)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield TrainingProgress(progress, console)
