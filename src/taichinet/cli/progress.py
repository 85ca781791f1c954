"""Progress of commands on standard error: bars on a terminal, otherwise lines. Standard output is free for --json."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from taichinet.progress import progress_to

PHASES = {"mine": "mining easy and hard pixels (U-Net++)", "train": "training"}
FIRST_LINE, LONGEST_PAUSE = 10.0, 300.0  # seconds between the lines without a terminal; each pause is twice the last
BAR_WIDTH, WIDTH_WITH_BAR = 20, 80


@dataclass
class _Loop:
    """When a loop began, and after how many seconds its next line is printed."""

    began: float
    next_line: float = FIRST_LINE


class ProgressDisplay:
    """Display of the loops that run: an `OnProgress`."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._loops: dict[str, _Loop] = {}

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show the progress of a loop. On a terminal its bar is removed at the end."""
        if self.quiet:
            return
        if not self.console.is_terminal:
            self._print_line(text, done, total)
        elif done < total:
            self.draw(text, text, done, total)
        else:
            self.remove(text)

    def draw(self, name: str, text: str, done: int, total: int) -> None:
        """Draw the bar `name`."""
        if self._bars is None:
            self._bars = Progress(*_columns(self.console.width), console=self.console, redirect_stdout=False)
            self._bars.live.transient = True
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(text, total=total)
        self._bars.update(self._tasks[name], completed=done, description=text)

    def remove(self, name: str) -> None:
        """Remove the bar `name`, if there is one."""
        task = self._tasks.pop(name, None)
        if task is not None and self._bars is not None:
            self._bars.remove_task(task)
        if not self._tasks:
            self.stop()

    def stop(self) -> None:
        """Remove all bars."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._tasks = None, {}

    def _print_line(self, text: str, done: int, total: int) -> None:
        now = monotonic()
        if done == 0 or text not in self._loops:
            self._loops[text] = _Loop(now)
        loop = self._loops[text]
        elapsed = now - loop.began
        if done >= total:
            del self._loops[text]
        if not 0 < done < total or elapsed < loop.next_line:
            return
        loop.next_line = elapsed + min(elapsed, LONGEST_PAUSE)
        left = _minutes(elapsed / done * (total - done))
        line = f"{text}: {done} of {total}, {_minutes(elapsed)} elapsed, about {left} remaining"
        self.console.print(line, soft_wrap=True, markup=False)


def _minutes(seconds: float) -> str:
    """Seconds as h:mm:ss, as in the bars."""
    return str(timedelta(seconds=round(seconds)))


class TrainingProgress(ProgressDisplay):
    """Also displays the epochs of `run_fold`: a bar for each phase, without a terminal a line for each epoch."""

    _title = ""

    def begin(self, title: str) -> None:
        """Start new bars, for the next network or fold."""
        self._title = title
        for phase in PHASES:
            self.remove(phase)

    def epoch(self, phase: str, row: dict[str, Any], epochs: int) -> None:
        """Display a completed epoch of `phase`."""
        dice = row["validation_dice"]
        score = "" if dice != dice else f" · validation Dice {dice:.3f}"
        text = f"{self._title} · {PHASES[phase]} · loss {row['loss']:.3f}{score}"
        if self.quiet:
            return
        if self.console.is_terminal:
            self.draw(phase, text, row["epoch"], epochs)
            return
        line = f"{text} · epoch {row['epoch']}/{epochs} · {row['seconds']:.1f} s"
        self.console.print(line, soft_wrap=True, markup=False)


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    """The columns of a bar on a terminal of `width` characters. The text is wrapped, not cut."""
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
    bar = (BarColumn(BAR_WIDTH),) if width >= WIDTH_WITH_BAR else ()
    return (text, *bar, MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())


@contextmanager
def progress_display(quiet: bool = False) -> Iterator[ProgressDisplay]:
    """Display the loops that run within the block."""
    display = ProgressDisplay(quiet)
    try:
        with progress_to(display):
            yield display
    finally:
        display.stop()


@contextmanager
def training_progress(quiet: bool = False) -> Iterator[TrainingProgress]:
    """Display the loops and epochs that run within the block."""
    display = TrainingProgress(quiet)
    try:
        with progress_to(display):
            yield display
    finally:
        display.stop()
