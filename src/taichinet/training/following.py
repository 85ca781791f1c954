"""What every rank but 0 does: take part in each training that rank 0 hands out, until there is none left."""

from __future__ import annotations

from dataclasses import replace

from taichinet.training.device import Placement, choose_placement
from taichinet.training.distributed import Ranks
from taichinet.training.fit import Task, run_epoch


def follow(ranks: Ranks) -> None:
    """Run this rank's share of every training; returns when rank 0 hands out None.

    Network, optimiser, images and settings come from rank 0, also those of a resumed checkpoint: this process reads
    no file and writes none, and needs no disk in common. Raises ProcessError where another process has gone.
    """
    while (task := ranks.hand_out(None)) is not None:
        _take_part(task)


def _take_part(task: Task) -> None:
    here = replace(task, placement=_own(task.placement))
    network = here.placement.place(task.network)
    optimizer = task.new_optimizer(network)
    for epoch in range(task.epoch, task.settings.epochs):
        run_epoch(here, network, optimizer, epoch)


def _own(leaders: Placement) -> Placement:
    """The number format and layout of rank 0, on this process' own device."""
    own = choose_placement()
    return replace(leaders, device=own.device, ranks=own.ranks)
