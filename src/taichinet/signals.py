"""SIGTERM as an exception, so that completed work is written before the process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_TERMINATED = 128 + signal.SIGTERM


@contextmanager
def raise_on_sigterm(error: BaseException) -> Iterator[None]:
    """Raise `error` if SIGTERM is received within the block. Outside the main thread, do nothing.

    It is raised again at the end of the block if code in it has suppressed it, as some libraries do while they are
    imported.

    Args:
        error: The exception to raise in the main thread.
    """
    received = False

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        raise error

    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield
        return
    previous_handler = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
        if received:
            raise error
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
