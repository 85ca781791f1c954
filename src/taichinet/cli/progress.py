"""Progress of trainings on the terminal: a bar an activity, and a plain line an epoch where there is no terminal."""

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
    """Hears epochs from `run_fold`; writes to standard error, so that --json keeps standard output clean."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._tasks: dict[str, Any] = {}
        self._title = ""

    def begin(self, title: str) -> None:
        """A new network or fold: its bars start afresh."""
        for task in self._tasks.values():
            self._progress.update(task, visible=False)
        self._tasks = {}
        self._title = title

    def epoch(self, phase: str, row: dict[str, Any], epochs: int) -> None:
        """One finished epoch of `phase`."""
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
    """Bars for as long as the block runs."""
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
