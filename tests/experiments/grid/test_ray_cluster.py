"""Local Ray cluster with two nodes, one of which is killed: the results equal those of a serial run."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch

from experiments.grid.grids import SETTINGS, phantoms, tiny_grid
from taichinet.errors import SettingError
from taichinet.experiments.grid.executors import Serial
from taichinet.experiments.grid.progress import Progress, read_progress
from taichinet.experiments.grid.run_grid import run_grid

# Ray's helper processes start slowly on a loaded machine, and workers must not be killed if memory is low.
RAY_SETTINGS = {
    "RAY_agent_register_timeout_ms": "240000",
    "RAY_raylet_start_wait_time_s": "240",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_enable_worker_prestart": "0",
}
os.environ.update({name: os.environ.get(name, value) for name, value in RAY_SETTINGS.items()})  # before import
ray = pytest.importorskip("ray", reason="needs the extra 'cluster'")
RECIPES = ("taichinet", "model-3", "model-2")
LONG = {**SETTINGS, "training.epochs": 40}  # long enough to kill a node during training


def node() -> dict[str, int]:
    """Options for a node with one processor, little memory and fixed ports, as Ray waits only 15 s for chosen ports."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    sockets = [socket.socket() for _ in names]
    for free_socket in sockets:
        free_socket.bind(("", 0))
    ports = {name: free_socket.getsockname()[1] for name, free_socket in zip(names, sockets, strict=True)}
    for free_socket in sockets:
        free_socket.close()
    return {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_log_monitor": False, **ports}


@pytest.mark.enable_socket
@pytest.mark.timeout(600)
def test_killed_node_loses_no_finished_cell_and_changes_no_result(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    from taichinet.experiments.grid.ray_cluster import RayCluster

    data = phantoms(tmp_path)
    grid = tiny_grid(data, tmp_path / "cluster", *RECIPES, set=LONG)
    cluster = Cluster(initialize_head=True, head_node_args={**node(), "include_dashboard": False, "no_monitor": True})
    second = cluster.add_node(**node())
    ray.init(address=cluster.address, log_to_driver=False)
    killed: list[list[int]] = []

    def kill_when_both_train(progress: Progress) -> None:
        running = [entry.epoch for entry in progress.entries if entry.state == "running"]
        if not killed and len(running) == 2 and min(running) >= 2:
            killed.append(running)
            cluster.remove_node(second, allow_graceful=False)

    try:
        with pytest.raises(SettingError, match="--cpus"):
            RayCluster(cluster.address, cpus=5)
        executor = RayCluster(cluster.address, cpus=1)
        progress = run_grid(
            read_progress(grid.cells, ()), executor, kill_when_both_train, tick_seconds=0.2, busy_seconds=1
        )
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert killed, "no node was killed during training"
    assert [entry.state for entry in progress.entries] == ["done"] * 3
    assert sum(entry.attempts for entry in progress.entries) == 1

    serial = tiny_grid(data, tmp_path / "serial", *RECIPES, set=LONG)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run_grid(read_progress(serial.cells, ()), Serial())
    torch.set_num_threads(threads)
    for cell, expected in zip(grid.cells, serial.cells, strict=True):
        for file in ("weights/model.safetensors", "scores.csv"):
            assert (cell.folder / file).read_bytes() == (expected.folder / file).read_bytes()
        assert len((cell.folder / "history.csv").read_text().splitlines()) == 1 + 40
