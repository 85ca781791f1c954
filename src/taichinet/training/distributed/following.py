"""Training loop of all ranks except rank 0: execute the tasks that rank 0 broadcasts."""

from __future__ import annotations

from dataclasses import replace

from taichinet.training.device import choose_device_config
from taichinet.training.distributed.ranks import Ranks
from taichinet.training.fit import Task, goes_on, prepare_epoch
from taichinet.training.loop import train_epoch


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
    own = choose_device_config()  # precision and memory layout of rank 0, device of this process
    device_config = replace(task.device_config, device=own.device, ranks=own.ranks)
    here, optimizer = task.on_device(device_config)
    epoch = task.epoch
    while goes_on(task.settings, epoch, own.ranks):
        batches, step = prepare_epoch(here, optimizer, epoch)
        train_epoch(step, batches)
        epoch += 1
