"""Live table of `taichinet compare`: state, epochs and times of each cell; without a terminal, one line per change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from taichinet.cli.tables import fitted
from taichinet.experiments.grid.cells import Cell
from taichinet.experiments.grid.progress import RUNNING, Entry, Progress
from taichinet.progress import progress_to
from taichinet.reports.document.format import duration

COLOURS = {"waiting": "dim", "running": "bold cyan", "elsewhere": "magenta", "done": "green", "failed": "bold red"}
LINES_OF_ENTRY = 6  # on a narrow terminal
WORDS = {"elsewhere": "another process"}


class CompareTable:
    """Display a `Progress` on each call of `show`."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._latest: Progress | None = None
        self._printed: dict[int, tuple[str, str]] = {}
        self._start = time.monotonic()
        self._last_update = 0.0

    def show(self, progress: Progress) -> None:
        """Redraw the table at most twice a second; without a terminal, print a line for each row that changed."""
        self._latest = progress
        if self._live is not None:
            if time.monotonic() - self._last_update > 0.5:
                self._live.update(self._render(progress), refresh=True)
                self._last_update = time.monotonic()
            return
        for number, entry in enumerate(progress.entries):
            current = (entry.state, entry.note)
            if self._printed.get(number, ("waiting", "")) != current:
                note = f": {entry.note}" if entry.note else ""
                spent = f" after {duration(entry.seconds)}" if entry.state == "done" and not entry.done_before else ""
                word = WORDS.get(entry.state, entry.state)
                self._console.print(f"{entry.task.title}: {word}{spent}{note}", soft_wrap=True, markup=False)
            self._printed[number] = current

    def finish(self) -> None:
        """Draw the last state, however recent the previous update is."""
        if self._live is not None and self._latest is not None:
            self._live.update(self._render(self._latest), refresh=True)

    def _render(self, progress: Progress) -> Group:
        room = max(self._console.height - 6, 5)
        table = fitted(entries_table(visible(progress.entries, room)), self._console)
        if not isinstance(table, Table):  # each entry takes several lines
            rows = max(room // LINES_OF_ENTRY, 1)
            table = fitted(entries_table(visible(progress.entries, rows)), self._console)
        done, total = progress.count("done"), len(progress.entries)
        elapsed = time.monotonic() - self._start
        remaining = time_left(progress, elapsed)
        remaining_text = "unknown" if remaining is None else duration(remaining)
        counts = f"{done} of {total} done, {progress.count('failed')} failed, {progress.count(*RUNNING)} running"
        return Group(table, Text(f"{counts} · {duration(elapsed)} elapsed · {remaining_text} remaining"))


def visible(entries: list[Entry], room: int) -> list[Entry]:
    """The entries that fit into `room` rows, in order; running ones take priority, then failed, waiting and done."""
    if len(entries) <= room:
        return entries
    rank = {"running": 0, "elsewhere": 0, "failed": 1, "waiting": 2, "done": 3}
    numbered = sorted(range(len(entries)), key=lambda i: (rank[entries[i].state], i))
    return [entries[i] for i in sorted(numbered[:room])]


def entries_table(entries: list[Entry]) -> Table:
    """A table with one row per entry."""
    table = Table()
    for heading in ("run", "state", "epoch", "elapsed", "remaining", "note"):
        table.add_column(heading, justify="right" if heading in ("epoch", "elapsed", "remaining") else "left")
    for entry in entries:
        state = f"[{COLOURS[entry.state]}]{WORDS.get(entry.state, entry.state)}[/]"
        epoch = f"{entry.epoch}/{entry.epochs}" if isinstance(entry.task, Cell) else ""
        remaining = ""
        if entry.state in RUNNING and entry.epoch:
            remaining = duration(entry.seconds / entry.epoch * (entry.epochs - entry.epoch))
        elapsed = duration(entry.seconds) if entry.seconds else ""
        note = "done by an earlier command" if entry.done_before and not entry.note else entry.note
        table.add_row(escape(entry.task.title), state, epoch, elapsed, remaining, escape(note))
    return table


def time_left(progress: Progress, spent: float) -> float | None:
    """Estimated remaining seconds, from the epochs completed in `spent` seconds of this command; None without any."""
    own_cells = [e for e in progress.entries if isinstance(e.task, Cell) and not e.done_before and e.copy_of is None]
    completed = sum(e.epoch for e in own_cells)
    remaining = sum(e.epochs - e.epoch for e in own_cells if e.state in ("waiting", *RUNNING))
    return spent / completed * remaining if completed else None


def _not_shown(text: str, done: int, total: int) -> None:
    """Loops are not displayed beside the table."""


@contextmanager
def compare_table(quiet: bool = False) -> Iterator[CompareTable]:
    """Show the table on standard error while the block runs, and no loops; the last state remains visible."""
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal or quiet:
        with progress_to(_not_shown):
            yield CompareTable(console, None)
        return
    with progress_to(_not_shown), Live(console=console, auto_refresh=False) as live:
        table = CompareTable(console, live)
        try:
            yield table
        finally:
            table.finish()
