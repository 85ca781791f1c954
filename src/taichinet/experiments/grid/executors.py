"""Executors on this machine: tasks run one after the other in this process, or in several processes."""

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
from taichinet.experiments.observer import Observe
from taichinet.experiments.training_run import OnEpoch

PARENT_POLL_SECONDS = 1.0


class Executor(Protocol):
    """Runs tasks."""

    @property
    def slots(self) -> int:
        """Number of tasks that can run at the same time."""
        ...

    def start(self, task: Task) -> None:
        """Start a task without waiting for it."""

    def wait(self, seconds: float) -> list[TaskResult]:
        """Wait up to about `seconds`, a serial executor until the task ends, and return the ended tasks."""
        ...

    def stop(self) -> None:
        """End all tasks; completed epochs are kept in checkpoints."""


class Serial:
    """One task at a time in this process; `on_epoch` is called after each epoch."""

    slots = 1

    def __init__(
        self, on_epoch: OnEpoch = lambda phase, row, epochs: None, observers: tuple[Observe, ...] = ()
    ) -> None:
        self._on_epoch, self._observers = on_epoch, observers
        self._tasks: list[Task] = []

    def start(self, task: Task) -> None:
        """Store the task until `wait` is called."""
        self._tasks.append(task)

    def wait(self, seconds: float) -> list[TaskResult]:
        """Run the started tasks."""
        if not self._tasks:
            time.sleep(seconds)
        tasks, self._tasks = self._tasks, []
        return [run_task(task, self._on_epoch, observers=self._observers) for task in tasks]

    def stop(self) -> None:
        """Do nothing: tasks only run during `wait`."""


class Processes:
    """`jobs` tasks at a time, each in a new process with an equal share of the CPU threads.

    If the system kills a process, only its task is affected.
    """

    def __init__(self, jobs: int, threads: int | None = None, work: Callable[[Task], TaskResult] = run_task) -> None:
        self.slots = jobs
        self._threads = threads or max((os.cpu_count() or 1) // jobs, 1)
        self._work = work
        self._running: dict[Connection[Any, Any], tuple[Task, Any]] = {}

    def start(self, task: Task) -> None:
        """Start a task in a new process."""
        context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads may hang
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(self._work, task, self._threads, sender), daemon=True)
        process.start()
        sender.close()
        self._running[receiver] = (task, process)

    def wait(self, seconds: float) -> list[TaskResult]:
        """Wait up to `seconds` and return the tasks whose process has sent a result or died."""
        if not self._running:
            time.sleep(seconds)
            return []
        ended: list[TaskResult] = []
        ready = wait(list(self._running), seconds)
        for receiver in [receiver for receiver in self._running if receiver in ready]:
            task, process = self._running.pop(receiver)
            try:
                ended.append(receiver.recv())
                process.join()
            except EOFError:
                process.join()
                ended.append(TaskResult(task, "lost", f"its process died ({_cause(process.exitcode)})"))
        return ended

    def stop(self) -> None:
        """Terminate all processes. Their locks are taken over by later processes."""
        for _, process in self._running.values():
            process.terminate()
        for _, process in self._running.values():
            process.join()
        self._running = {}


def _child(work: Callable[[Task], TaskResult], task: Task, threads: int, sender: Connection[Any, Any]) -> None:
    _end_with_parent()
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent terminates this one
    torch.set_num_threads(threads)
    sender.send(work(task))


def _end_with_parent() -> None:
    """End this process when its parent ends, even if the parent is killed.

    A thread polls the parent process number. PR_SET_PDEATHSIG of Linux would also fire when only the thread that
    started the process ends.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(PARENT_POLL_SECONDS)
        os._exit(1)  # immediately; completed epochs are kept in checkpoints

    threading.Thread(target=watch, daemon=True).start()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name}; is there memory enough for so many --jobs?" if name == "SIGKILL" else name
    return f"exit code {code}"
