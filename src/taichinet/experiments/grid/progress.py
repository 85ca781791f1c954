"""State of every task of a grid, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from taichinet.errors import DataError, FoldError
from taichinet.experiments.grid.cells import Cell, Transfer
from taichinet.experiments.grid.work import Task
from taichinet.experiments.identity import differences
from taichinet.experiments.records import RESULT_FILE, SUMMARY_FILE, EvaluationRecord, FoldRecord, read_record
from taichinet.models.weights import ROUNDED_FROM
from taichinet.models.weights_folder import CONFIG_FILE, WEIGHTS_FILE
from taichinet.storage.digest import digest_file
from taichinet.storage.documents import read_json

State = Literal["waiting", "running", "elsewhere", "done", "failed"]
RUNNING: tuple[State, ...] = ("running", "elsewhere")


@dataclass
class Entry:
    """State of a task.

    Attributes:
        seconds: Total time spent on the task.
        note: Reason of the state.
        done_before: Whether the task was completed before this command.
        copy_of: The identical cell whose result is copied; None for a cell that is trained.
        attempts: Number of attempts that ended because the worker died.
        estimate: Estimated seconds that the task still needs; None without a budget or without a measurement.
    """

    task: Task
    state: State = "waiting"
    seconds: float = 0.0
    epoch: int = 0
    epochs: int = 0
    note: str = ""
    done_before: bool = False
    copy_of: Cell | None = None
    attempts: int = 0
    estimate: float | None = None


@dataclass
class Progress:
    """State of all tasks of a grid."""

    entries: list[Entry]
    studies_failed: list[str] = field(default_factory=list)

    def of(self, task: Task) -> Entry:
        """The entry of `task`."""
        return next(entry for entry in self.entries if entry.task.folder == task.folder)

    def count(self, *states: State) -> int:
        """Number of entries in one of `states`."""
        return sum(entry.state in states for entry in self.entries)

    @property
    def failed(self) -> list[Entry]:
        """The entries that failed, in order."""
        return [entry for entry in self.entries if entry.state == "failed"]

    @property
    def unfinished(self) -> list[Entry]:
        """The entries that are neither done nor failed, in order."""
        return [entry for entry in self.entries if entry.state not in ("done", "failed")]

    def read_epochs(self) -> None:
        """Update the running entries from their run folders, on any machine."""
        for entry in self.entries:
            if entry.state in RUNNING:
                read_epoch(entry)


def read_progress(cells: tuple[Cell, ...], transfers: tuple[Transfer, ...]) -> Progress:
    """Read the state of all tasks from their folders. Only small files are read."""
    entries = [_cell_entry(cell) for cell in cells]
    _find_copies(entries)
    return Progress(entries + [_transfer_entry(transfer) for transfer in transfers])


def _cell_entry(cell: Cell) -> Entry:
    entry = Entry(cell, epochs=cell.experiment.training.epochs)
    read_epoch(entry)
    if not (cell.folder / RESULT_FILE).exists():
        entry.note = f"interrupted after epoch {entry.epoch}" if entry.epoch else ""
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
            f"{cell.folder} contains a result with another {' and '.join([*settings, *different.fields])}, which is "
            "not overwritten. Give another --output or the same settings, or move the folder."
        )
        return entry
    entry.state, entry.done_before, entry.epoch = "done", True, entry.epochs
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
        entry.done_before = all(_has_scored(record, cell) for cell in transfer.needs)
    except DataError:  # a file is absent or damaged
        return entry
    entry.state = "done" if entry.done_before else "waiting"
    return entry


def _has_scored(record: EvaluationRecord, cell: Cell) -> bool:
    """Whether the weights of `cell` were scored, before or after an archive rounded them; others are outdated.

    Runs that were unpacked without weights are compared by the number of the fold.
    """
    weights = cell.folder / "weights"
    if not (weights / WEIGHTS_FILE).exists():
        return cell.fold in {network.trained.get("fold") for network in record.networks}
    origin = read_json(weights / CONFIG_FILE).get("provenance", {}).get(ROUNDED_FROM)
    return not {digest_file(weights / WEIGHTS_FILE), origin}.isdisjoint(
        network.weights_sha256 for network in record.networks if network.weights_sha256
    )


def _find_copies(entries: list[Entry]) -> None:
    """Of identical cells, the one with the most completed epochs is trained; the others copy its result."""
    rank = {"done": 1, "failed": -1}
    farthest: dict[str, Entry] = {}
    for entry in entries:
        best = farthest.setdefault(_key(entry), entry)
        if (rank.get(entry.state, 0), entry.epoch) > (rank.get(best.state, 0), best.epoch):
            farthest[_key(entry)] = entry
    for entry in entries:
        original = farthest[_key(entry)]
        if original is not entry and isinstance(original.task, Cell):
            entry.copy_of = original.task


def _key(entry: Entry) -> str:
    return entry.task.key if isinstance(entry.task, Cell) else entry.task.title


def read_epoch(entry: Entry) -> None:
    """Read the completed epochs and seconds of a cell from its folder."""
    if not isinstance(entry.task, Cell):
        return
    try:
        lines = (entry.task.folder / "history.csv").read_text(encoding="utf-8").splitlines()
        entry.epoch = max(len(lines) - 1, 0)
        entry.seconds = float((entry.task.folder / "seconds").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
