"""Executor on a Ray cluster: one Ray task per cell.

Ray does not retry tasks. If a worker dies, the task is reported as lost, and `run_grid` starts it again, which resumes
from the last checkpoint. The folder of runs must therefore be on storage that all machines share, under the same path.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from taichinet.errors import SettingError
from taichinet.experiments.grid.work import Task, TaskResult, run_task
from taichinet.experiments.observer import Observe
from taichinet.training.device_choice import AUTO_DEVICE

CONNECT_SECONDS = 10


class RayCluster:
    """Executor for `run_grid`. It starts as many tasks as the resources of the cluster allow."""

    def __init__(
        self,
        address: str,
        cpus: int = 2,
        gpus: float = 0,
        device: str = AUTO_DEVICE,
        observers: tuple[Observe, ...] = (),
    ) -> None:
        """Connect to a cluster.

        Args:
            address: "auto" for a running cluster on this machine, "local" for a new one, or HOST:PORT.
            cpus: CPUs per task.
            gpus: GPUs per task; may be a fraction.
            device: Name of the device on the machine of each task, see `use_device`.
            observers: Draw or log each training.

        Raises:
            SettingError: Ray is not installed, there is no cluster at the address, or no machine is large enough.
        """
        try:
            import ray
        except ImportError as error:
            raise SettingError("--cluster needs Ray. Install it with: pip install 'taichinet[cluster]'.") from error
        if ":" in address:
            refuse_unreachable(address)
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
                raise _unreachable(address, error) from error
        self._cpus, self._gpus, self._device, self._observers = cpus, gpus, device, observers
        self._remote = ray.remote(_remote_task).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)
        self._running: dict[Any, Task] = {}
        self._refuse_too_small()

    @property
    def slots(self) -> int:
        """Number of tasks that the present machines of the cluster can run."""
        total = self._ray.cluster_resources()
        room = total.get("CPU", 0) / self._cpus
        if self._gpus:
            room = min(room, total.get("GPU", 0) / self._gpus)
        return max(int(room), 1)

    def start(self, task: Task) -> None:
        """Start a task on a machine that Ray chooses."""
        self._running[self._remote.remote(task, self._cpus, self._device, self._observers)] = task

    def wait(self, seconds: float) -> list[TaskResult]:
        """Wait up to `seconds` and return the tasks that ended or whose worker was lost."""
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
        """Cancel all tasks and disconnect; shut down the cluster if it was started here."""
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
                f"No machine of the cluster has {self._cpus} processor(s) and {self._gpus:g} GPU(s) for a run. "
                "Give lower numbers with --cpus and --gpus."
            )


def refuse_unreachable(address: str) -> None:
    """Raise SettingError if no program listens at HOST:PORT or ray://HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition("/")[-1].rpartition(":")
    if not host or not port.isdecimal():
        raise SettingError(
            f"--cluster '{address}' is not an address. Write HOST:PORT, e.g. 10.0.0.1:6379, auto or local."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> SettingError:
    return SettingError(
        f"No Ray cluster can be reached at '{address}' ({error}). Start one with `ray start --head`, or give "
        "--cluster local."
    )


def _remote_task(task: Task, threads: int, device: str, observers: tuple[Observe, ...]) -> TaskResult:
    import torch

    torch.set_num_threads(threads)
    return run_task(task, device=device, observers=observers)
