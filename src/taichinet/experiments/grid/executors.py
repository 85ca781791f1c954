"""Where tasks run on this machine: one after the other in this process, or several in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from taichinet.experiments.grid.work import Task, TaskResult, run_task
from taichinet.experiments.run import OnEpoch

PARENT_POLL_SECONDS = 1.0


class Executor(Protocol):
    """Runs tasks."""

    @property
    def slots(self) -> int:
        """How many it takes at once."""
        ...

    def start(self, task: Task) -> None:
        """Take a task; returns at once."""

    def wait(self, seconds: float) -> list[TaskResult]:
        """Those that have ended, after at most about `seconds` (a serial executor: after the task)."""
        ...

    def stop(self) -> None:
        """End whatever runs; what was trained is in checkpoints."""


class Serial:
    """One task at a time, here; `on_epoch` is called after each epoch."""

    slots = 1

    def __init__(self, on_epoch: OnEpoch = lambda phase, row, epochs: None) -> None:
        self._on_epoch = on_epoch
        self._tasks: list[Task] = []

    def start(self, task: Task) -> None:
        """Keep it for `wait`."""
        self._tasks.append(task)

    def wait(self, seconds: float) -> list[TaskResult]:
        """Run what was started."""
        if not self._tasks:
            time.sleep(seconds)
        return [run_task(self._tasks.pop(0), self._on_epoch) for _ in range(len(self._tasks))]

    def stop(self) -> None:
        """Nothing runs outside `wait`."""


class Processes:
    """`jobs` tasks at once, each in a fresh process with an equal share of the processor's threads.

    A process that the system kills costs its own task alone.
    """

    def __init__(self, jobs: int, threads: int | None = None, work: Callable[[Task], TaskResult] = run_task) -> None:
        self.slots = jobs
        self._threads = threads or max((os.cpu_count() or 1) // jobs, 1)
        self._work = work
        self._running: dict[Connection[Any, Any], tuple[Task, Any]] = {}

    def start(self, task: Task) -> None:
        """Begin it in a new process."""
        context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads may hang
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(self._work, task, self._threads, sender), daemon=True)
        process.start()
        sender.close()
        self._running[receiver] = (task, process)

    def wait(self, seconds: float) -> list[TaskResult]:
        """The tasks whose process has sent a result or died."""
        if not self._running:
            time.sleep(seconds)
            return []
        ended: list[TaskResult] = []
        ready = wait(list(self._running), seconds)
        for receiver in [one for one in self._running if one in ready]:
            task, process = self._running.pop(receiver)
            try:
                ended.append(receiver.recv())
                process.join()
            except EOFError:
                process.join()
                ended.append(TaskResult(task, "lost", f"its process died ({_cause(process.exitcode)})"))
        return ended

    def stop(self) -> None:
        """Terminate all; the locks of dead processes are taken over."""
        for _, process in self._running.values():
            process.terminate()
        for _, process in self._running.values():
            process.join()
        self._running = {}


def _child(work: Callable[[Task], TaskResult], task: Task, threads: int, sender: Connection[Any, Any]) -> None:
    _end_with_parent()
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us in order
    torch.set_num_threads(threads)
    sender.send(work(task))


def _end_with_parent() -> None:
    """End this process when its parent ends, even if the parent is killed and cannot end it in order.

    A thread compares the parent's process number, on every system: Linux' PR_SET_PDEATHSIG would also fire when only
    the thread that started the process ends.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(PARENT_POLL_SECONDS)
        os._exit(1)  # at once, like a kill: what was trained is in checkpoints

    threading.Thread(target=watch, daemon=True).start()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name}; is there memory enough for so many --jobs?" if name == "SIGKILL" else name
    return f"exit code {code}"
