"""Tasks on a Ray cluster: one Ray task a cell, with the processors and GPUs that it asks for.

Ray itself does not retry: a worker that dies with its machine is reported as lost, and `run_grid` starts the cell
again, which goes on from its last checkpoint. So the runs' folder must lie on storage that all machines share, under
one path.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from taichinet.errors import SettingError
from taichinet.experiments.grid.work import Task, TaskResult, run_task

CONNECT_SECONDS = 10


class RayCluster:
    """An executor for `run_grid`. As many tasks are handed over as the cluster has room for."""

    def __init__(self, address: str, cpus: int = 2, gpus: float = 0) -> None:
        """Connect to `address`: "auto" a running cluster of this machine, "local" a new one, else HOST:PORT.

        Raises SettingError where Ray is not installed or nothing answers.
        """
        try:
            import ray
        except ImportError as error:
            raise SettingError("--cluster needs Ray. Install it with: pip install 'taichinet[cluster]'.") from error
        if ":" in address:
            refuse_unheard(address)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # also where it was set after taichinet was imported
        self._ray = ray
        self._mine = not ray.is_initialized()
        if self._mine:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            try:
                if address == "local":
                    ray.init(address="local", log_to_driver=False, include_dashboard=False)
                else:
                    ray.init(address=address, log_to_driver=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise _no_answer(address, error) from error
        self._cpus, self._gpus = cpus, gpus
        self._remote = ray.remote(_remote_task).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)
        self._running: dict[Any, Task] = {}
        self._refuse_too_small()

    @property
    def slots(self) -> int:
        """How many tasks the cluster has room for now, machines that came or went counted."""
        total = self._ray.cluster_resources()
        room = total.get("CPU", 0) / self._cpus
        if self._gpus:
            room = min(room, total.get("GPU", 0) / self._gpus)
        return max(int(room), 1)

    def start(self, task: Task) -> None:
        """Hand it to the cluster, which places it."""
        self._running[self._remote.remote(task, self._cpus)] = task

    def wait(self, seconds: float) -> list[TaskResult]:
        """Those that ended, or whose worker or machine is gone."""
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=seconds)
        ended = []
        for reference in ready:
            task = self._running.pop(reference)
            try:
                ended.append(self._ray.get(reference))
            except self._ray.exceptions.RayError as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                ended.append(TaskResult(task, "lost", f"its worker was lost ({first})"))
        return ended

    def stop(self) -> None:
        """Cancel what runs and leave the cluster; a cluster of this command's own ends."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running = {}
        if self._mine:
            self._ray.shutdown()

    def _refuse_too_small(self) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(n.get("CPU", 0) >= self._cpus and n.get("GPU", 0) >= self._gpus for n in nodes):
            if self._mine:
                self._ray.shutdown()
            raise SettingError(
                f"No machine of the cluster has {self._cpus} processor(s) and {self._gpus:g} GPU(s) for a cell. Ask "
                "for less with --cpus and --gpus."
            )


def refuse_unheard(address: str) -> None:
    """SettingError where nothing listens at HOST:PORT or ray://HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition("/")[-1].rpartition(":")
    if not host or not port.isdecimal():
        raise SettingError(f"--cluster '{address}' is no address. Write HOST:PORT, e.g. 10.0.0.1:6379, auto or local.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> SettingError:
    return SettingError(
        f"No Ray cluster answers at '{address}' ({error}). Start one with `ray start --head`, or give --cluster local."
    )


def _remote_task(task: Task, threads: int) -> TaskResult:
    import torch

    torch.set_num_threads(threads)
    return run_task(task)
