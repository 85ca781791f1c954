"""Checkpoints are written beside the training, at most every 30 s, and the last state always."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from taichinet.errors import LockedError, WeightsError
from taichinet.training import checkpoint_writer
from taichinet.training.checkpoint import Checkpoint, CheckpointFolder, load_checkpoint, save_checkpoint
from taichinet.training.checkpoint_writer import CheckpointWriter


def state(epoch: int) -> Checkpoint:
    return Checkpoint("identity", epoch, {"weight": torch.full((3,), float(epoch))}, {}, {}, 0.5, 1, [])


def saved_epoch(folder: Path) -> int:
    checkpoint = load_checkpoint(folder, "identity")
    assert checkpoint is not None
    return checkpoint.epoch


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs of the states that are written, in order."""
    epochs: list[int] = []

    def record(checkpoint: Checkpoint, folder: Path) -> None:
        save_checkpoint(checkpoint, folder)
        epochs.append(checkpoint.epoch)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", record)
    return epochs


def test_first_and_last_state_are_written_and_short_epochs_are_skipped(tmp_path: Path, saves: list[int]) -> None:
    with CheckpointWriter(CheckpointFolder(tmp_path, "identity")) as writer:
        for epoch in range(1, 6):
            writer.add(state(epoch))
    assert saves == [1, 5]
    assert saved_epoch(tmp_path) == 5


def test_states_are_written_when_the_interval_has_passed(
    tmp_path: Path, saves: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("taichinet.training.checkpoint_writer.time.monotonic", lambda: now)
    with CheckpointWriter(CheckpointFolder(tmp_path, "identity")) as writer:
        for epoch in range(1, 6):
            writer.add(state(epoch))
            now += 0.4 * checkpoint_writer.CHECKPOINT_SECONDS
    assert saves == [1, 4, 5]


def add_two(folder: Path, error: BaseException | None = None) -> None:
    """Add the states of two epochs, of which only the first is due, then raise `error`."""
    with CheckpointWriter(CheckpointFolder(folder, "identity")) as writer:
        writer.add(state(1))
        writer.add(state(2))
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()], ids=repr)
def test_interrupted_training_writes_its_last_state(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        add_two(tmp_path, error)
    assert saved_epoch(tmp_path) == 2


def test_nothing_is_written_after_the_lock_was_lost(tmp_path: Path) -> None:
    with pytest.raises(LockedError):
        add_two(tmp_path, LockedError("another process"))
    assert saved_epoch(tmp_path) == 1


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def wait(checkpoint: Checkpoint, folder: Path) -> None:
        assert release.wait(60)
        save_checkpoint(checkpoint, folder)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", wait)
    with CheckpointWriter(CheckpointFolder(tmp_path, "identity")) as writer:
        writer.add(state(1))  # returns although nothing can be written yet
        writer.add(state(2))
        release.set()
    assert saved_epoch(tmp_path) == 2


def test_interrupt_while_waiting_for_the_disk_keeps_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_writer, "CHECKPOINT_SECONDS", 0.0)
    result, interrupted = Future.result, list[bool]()

    def interrupt_once(future: Future[None], timeout: float | None = None) -> None:
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        result(future, timeout)

    monkeypatch.setattr(Future, "result", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        add_two(tmp_path)
    assert saved_epoch(tmp_path) == 2


def test_failed_write_is_raised_once_and_no_later_state_is_written(
    tmp_path: Path, saves: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(checkpoint: Checkpoint, folder: Path) -> None:
        raise WeightsError(f"epoch {checkpoint.epoch}")

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", fail)
    with pytest.raises(WeightsError, match="epoch 1"):
        add_two(tmp_path)
    assert list(tmp_path.iterdir()) == []
