"""Writing of checkpoints beside the training, so that it waits neither for the device nor for the disk."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from taichinet.errors import LockedError
from taichinet.training.checkpoint import Checkpoint, CheckpointFolder, save_checkpoint

CHECKPOINT_SECONDS = 30.0  # an epoch takes less than a second on a large GPU


class CheckpointWriter:
    """Writes the newest state of a training in a thread, at most every CHECKPOINT_SECONDS.

    A context manager: on exit, also after an error or Ctrl-C, the last state is written and errors of the thread are
    raised. Nothing is written after a LockedError, since the folder then belongs to another process.
    """

    def __init__(self, checkpoints: CheckpointFolder) -> None:
        """Write into the folder of `checkpoints`. No other process may write to it."""
        self._checkpoints = checkpoints
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._pending: Checkpoint | None = None
        self._next_write = time.monotonic()

    def add(self, state: Checkpoint) -> None:
        """Write `state` now, or keep it until the next write is due.

        Args:
            state: The state after an epoch. Its tensors must not change later.

        Raises:
            LockedError: Another process has taken over the lock of the folder.
            WeightsError: An earlier state could not be written.
        """
        if self._checkpoints.lock is not None:
            self._checkpoints.lock.verify()
        self._pending = state
        due = time.monotonic() >= self._next_write
        if self._writing is not None and (due or self._writing.done()):
            self._wait()
        if due:
            self._write_pending()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._wait()
            if not isinstance(error, LockedError):
                self._write_pending()
                self._wait()
        finally:
            self._thread.shutdown()

    def _write_pending(self) -> None:
        if self._pending is not None:
            self._writing = self._thread.submit(save_checkpoint, self._pending, self._checkpoints.folder)
            self._pending = None
            self._next_write = time.monotonic() + CHECKPOINT_SECONDS

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.result()
            except Exception:  # of the write; Ctrl-C while waiting must not discard the last state
                self._pending = None  # a later state would not fit on the disk either
                raise
