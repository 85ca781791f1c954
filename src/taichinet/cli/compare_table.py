"""The live table of `taichinet compare`: every cell's state, epochs, time spent and left; a line a change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from taichinet.experiments.grid.cells import Cell
from taichinet.experiments.grid.progress import RUNNING, Entry, Progress
from taichinet.reports.document.format import duration

COLOURS = {"waiting": "dim", "running": "bold cyan", "elsewhere": "magenta", "done": "green", "failed": "bold red"}
WORDS = {"elsewhere": "another process"}


class CompareTable:
    """Shows a `Progress` as often as it is told to."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._latest: Progress | None = None
        self._told: dict[int, tuple[str, str]] = {}
        self._began = time.monotonic()
        self._shown = 0.0

    def show(self, progress: Progress) -> None:
        """On a terminal redraw at most twice a second; elsewhere a line for every row whose state has changed."""
        self._latest = progress
        if self._live is not None:
            if time.monotonic() - self._shown > 0.5:
                self._live.update(self._render(progress), refresh=True)
                self._shown = time.monotonic()
            return
        for number, entry in enumerate(progress.entries):
            now = (entry.state, entry.note)
            if self._told.get(number, ("waiting", "")) != now:
                note = f": {entry.note}" if entry.note else ""
                spent = f" after {duration(entry.seconds)}" if entry.state == "done" and not entry.found else ""
                word = WORDS.get(entry.state, entry.state)
                self._console.print(f"{entry.task.title}: {word}{spent}{note}", soft_wrap=True, markup=False)
            self._told[number] = now

    def finish(self) -> None:
        """Draw what is there at last, however soon after the table before it."""
        if self._live is not None and self._latest is not None:
            self._live.update(self._render(self._latest), refresh=True)

    def _render(self, progress: Progress) -> Group:
        room = max(self._console.height - 6, 5)
        table = entries_table(visible(progress.entries, room))
        done, total = progress.count("done"), len(progress.entries)
        left = time_left(progress, time.monotonic() - self._began)
        text = f"{done} of {total} done, {progress.count('failed')} failed, {progress.count(*RUNNING)} running"
        spent = duration(time.monotonic() - self._began)
        return Group(table, Text(f"{text} · spent {spent} · left {duration(left) if left is not None else 'unknown'}"))


def visible(entries: list[Entry], room: int) -> list[Entry]:
    """What fits: all, or first what runs and failed, then what is next, then the latest that are done; in order."""
    if len(entries) <= room:
        return entries
    rank = {"running": 0, "elsewhere": 0, "failed": 1, "waiting": 2, "done": 3}
    numbered = sorted(range(len(entries)), key=lambda i: (rank[entries[i].state], i))
    return [entries[i] for i in sorted(numbered[:room])]


def entries_table(entries: list[Entry]) -> Table:
    """A row an entry."""
    table = Table()
    for heading in ("cell", "state", "epoch", "time", "left", "note"):
        table.add_column(heading, justify="right" if heading in ("epoch", "time", "left") else "left")
    for entry in entries:
        state = f"[{COLOURS[entry.state]}]{WORDS.get(entry.state, entry.state)}[/]"
        epoch = f"{entry.epoch}/{entry.epochs}" if isinstance(entry.task, Cell) else ""
        left = ""
        if entry.state in RUNNING and entry.epoch:
            left = duration(entry.seconds / entry.epoch * (entry.epochs - entry.epoch))
        time_spent = duration(entry.seconds) if entry.seconds else ""
        note = "done before" if entry.found and not entry.note else entry.note
        table.add_row(escape(entry.task.title), state, epoch, time_spent, left, escape(note[:80]))
    return table


def time_left(progress: Progress, spent: float) -> float | None:
    """Seconds until the end, from the epochs that this command has finished; None before the first."""
    mine = [e for e in progress.entries if isinstance(e.task, Cell) and not e.found and e.copies is None]
    done = sum(e.epoch for e in mine)
    left = sum(e.epochs - e.epoch for e in mine if e.state in ("waiting", *RUNNING))
    return spent / done * left if done else None


@contextmanager
def compare_table(quiet: bool = False) -> Iterator[CompareTable]:
    """The table on standard error for as long as the block runs; its last state stays there."""
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal or quiet:
        yield CompareTable(console, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        table = CompareTable(console, live)
        try:
            yield table
        finally:
            table.finish()
