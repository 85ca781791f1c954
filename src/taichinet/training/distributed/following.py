"""Training loop of all ranks except rank 0: execute the tasks that rank 0 broadcasts."""

from __future__ import annotations

from dataclasses import replace

from taichinet.training.device import DeviceConfig, choose_device_config
from taichinet.training.distributed.ranks import Ranks
from taichinet.training.fit import Task, run_epoch


def follow(ranks: Ranks) -> None:
    """Execute training tasks until rank 0 broadcasts None.

    Network, optimizer state, images and settings are received from rank 0, also when resuming. This process does not
    read or write files, so the ranks need no shared disk.

    Raises:
        ProcessError: Another process exited or does not respond.
    """
    while (task := ranks.broadcast(None)) is not None:
        _take_part(task)


def _take_part(task: Task) -> None:
    here = replace(task, device_config=_own(task.device_config))
    network = here.device_config.place(task.network)
    optimizer = task.new_optimizer(network)
    for epoch in range(task.epoch, task.settings.epochs):
        run_epoch(here, network, optimizer, epoch)


def _own(leaders: DeviceConfig) -> DeviceConfig:
    """The precision and memory layout of rank 0, with the device of this process."""
    own = choose_device_config()
    return replace(leaders, device=own.device, ranks=own.ranks)
