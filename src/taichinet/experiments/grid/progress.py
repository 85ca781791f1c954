"""The state of every cell, read from its run folder: what is done, half trained, or of another identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from taichinet.errors import DataError, FoldError
from taichinet.experiments.grid.cells import Cell, Transfer
from taichinet.experiments.grid.work import Task, weights_of
from taichinet.experiments.identity import differences
from taichinet.experiments.records import RESULT_FILE, SUMMARY_FILE, EvaluationRecord, FoldRecord, read_record

State = Literal["waiting", "running", "elsewhere", "done", "failed"]
RUNNING: tuple[State, ...] = ("running", "elsewhere")


@dataclass
class Entry:
    """A row of the live table. `seconds` were spent on it in all; `note` says why it is what it is.

    `found` is true for what was done before this command; `copies` is the cell whose result it takes.
    """

    task: Task
    state: State = "waiting"
    seconds: float = 0.0
    epoch: int = 0
    epochs: int = 0
    note: str = ""
    found: bool = False
    copies: Cell | None = None
    attempts: int = 0


@dataclass
class Progress:
    """All rows; the one thing of a grid that changes."""

    entries: list[Entry]
    studies_failed: list[str] = field(default_factory=list)

    def of(self, task: Task) -> Entry:
        """The row of `task`."""
        return next(entry for entry in self.entries if entry.task.folder == task.folder)

    def count(self, *states: State) -> int:
        """How many rows are in one of `states`."""
        return sum(entry.state in states for entry in self.entries)

    @property
    def failed(self) -> list[Entry]:
        """The rows that failed, in order."""
        return [entry for entry in self.entries if entry.state == "failed"]

    def read_epochs(self) -> None:
        """Bring the rows that run up to date from their folders: works wherever the worker is."""
        for entry in self.entries:
            if entry.state in RUNNING:
                read_epoch(entry)


def look(cells: tuple[Cell, ...], transfers: tuple[Transfer, ...]) -> Progress:
    """The rows of a grid as the folders are now. Nothing is opened but small files."""
    entries = [_cell_entry(cell) for cell in cells]
    _find_copies(entries)
    return Progress(entries + [_transfer_entry(transfer) for transfer in transfers])


def _cell_entry(cell: Cell) -> Entry:
    entry = Entry(cell, epochs=cell.experiment.training.epochs)
    read_epoch(entry)
    if not (cell.folder / RESULT_FILE).exists():
        entry.note = f"half trained: epoch {entry.epoch}" if entry.epoch else ""
        return entry
    try:
        record = read_record(cell.folder / RESULT_FILE, FoldRecord, FoldError, "Move the folder away.")
    except FoldError as error:
        entry.state, entry.note = "failed", str(error)
        return entry
    requested = {"dataset": cell.dataset, "protocol": cell.protocol, "fold": cell.fold}
    if different := differences(record, cell.experiment, requested):
        settings = (f"setting {name} ({old}, requested: {new})" for name, (old, new) in different.settings.items())
        entry.state = "failed"
        entry.note = (
            f"{cell.folder} holds a result of another {' and '.join([*settings, *different.fields])}. It is kept: give "
            "another --out, or the settings that it was made with, or move it away."
        )
        return entry
    entry.state, entry.found, entry.epoch = "done", True, entry.epochs
    entry.seconds = 0.0 if record.copied_from else record.wall_seconds
    entry.note = f"as {record.copied_from}" if record.copied_from else ""
    return entry


def _transfer_entry(transfer: Transfer) -> Entry:
    """An evaluation is done if it has scored the present weights of all folds."""
    entry = Entry(transfer)
    if not all((cell.folder / RESULT_FILE).exists() for cell in transfer.needs):
        return entry
    try:
        record = read_record(transfer.folder / SUMMARY_FILE, EvaluationRecord)
    except DataError:  # absent or damaged
        return entry
    entry.found = weights_of(transfer) <= {network.weights_sha256 for network in record.networks}
    entry.state = "done" if entry.found else "waiting"
    return entry


def _find_copies(entries: list[Entry]) -> None:
    """Of the cells of one content that which has come farthest is trained; the others take its result."""
    rank = {"done": 1, "failed": -1}
    farthest: dict[str, Entry] = {}
    for entry in entries:
        best = farthest.setdefault(_key(entry), entry)
        if (rank.get(entry.state, 0), entry.epoch) > (rank.get(best.state, 0), best.epoch):
            farthest[_key(entry)] = entry
    for entry in entries:
        original = farthest[_key(entry)]
        if original is not entry and isinstance(original.task, Cell):
            entry.copies = original.task


def _key(entry: Entry) -> str:
    return entry.task.key if isinstance(entry.task, Cell) else entry.task.title


def read_epoch(entry: Entry) -> None:
    """The finished epochs and seconds of a cell's folder; 0 where nothing is."""
    if not isinstance(entry.task, Cell):
        return
    try:
        lines = (entry.task.folder / "history.csv").read_text(encoding="utf-8").splitlines()
        entry.epoch = max(len(lines) - 1, 0)
        entry.seconds = float((entry.task.folder / "seconds").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
