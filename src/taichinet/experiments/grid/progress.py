"""The state of every cell, read from its run folder: what is done, half trained, or of another identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from taichinet.errors import DataError
from taichinet.experiments.cross_validate import comparable
from taichinet.experiments.experiment import setting_changes
from taichinet.experiments.grid.cells import Cell, Transfer
from taichinet.experiments.grid.work import Task, weights_of
from taichinet.storage.documents import read_json

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
    entries = []
    for cell in cells:
        entry = Entry(cell, epochs=cell.experiment.training.epochs)
        read_epoch(entry)
        result = _read_json(cell.folder / "result.json")
        if result is not None:
            if difference := differences(cell, result):
                entry.state = "failed"
                entry.note = (
                    f"{cell.folder} holds a result of another {' and '.join(difference)}. It is left as it is: give "
                    "another --out, or the settings it was made with, or move it away."
                )
            else:
                entry.state, entry.found, entry.epoch = "done", True, entry.epochs
                entry.seconds = 0.0 if "copied_from" in result else float(result.get("wall_seconds", 0))
                entry.note = f"as {result['copied_from']}" if "copied_from" in result else ""
        elif entry.epoch:
            entry.note = f"half trained: epoch {entry.epoch}"
        entries.append(entry)
    _find_copies(entries)
    for transfer in transfers:
        entry = Entry(transfer)
        summary = _read_json(transfer.folder / "summary.json")
        finished = all((cell.folder / "result.json").exists() for cell in transfer.needs)
        if summary is not None and finished:
            scored = {network.get("weights_sha256") for network in summary.get("networks", ())}
            entry.found = weights_of(transfer) <= scored
            entry.state = "done" if entry.found else "waiting"
        entries.append(entry)
    return Progress(entries)


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


def differences(cell: Cell, result: dict[str, Any]) -> list[str]:
    """In what a result.json is not that of `cell`; its images' and number format's digest is checked when it is run."""
    mine = {
        "experiment": cell.experiment.model_dump(mode="json"),
        "dataset": cell.dataset,
        "protocol": cell.protocol,
        "fold": cell.fold,
    }
    found = []
    for key, value in mine.items():
        theirs = comparable(key, result.get(key))
        if key == "experiment" and isinstance(theirs, dict) and isinstance(value, dict):
            changes = setting_changes(theirs, value).items()
            found += [f"setting {name} ({old}, asked for is {new})" for name, (old, new) in changes]
        elif theirs != value:
            found.append(key)
    return found


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


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except DataError:
        return {} if path.exists() else None
    return content if isinstance(content, dict) else {}
