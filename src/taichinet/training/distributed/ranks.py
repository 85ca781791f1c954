"""Distributed training under `torchrun`: ranks, the share of each rank of a batch, and collectives.

Rank 0 is the main process: it runs the command, reads data, validates, writes files and prints. For each training, the
other ranks receive a task from rank 0 and execute its training steps (training/distributed/following.py).

Gradients are summed here, in one buffer per optimiser step, and not by PyTorch's DistributedDataParallel, which
averages over ranks regardless of the size of their shares, communicates after every micro-batch, and changes the keys
of the checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from taichinet.batch import Batch
from taichinet.errors import ProcessError, SettingError

# Timeout of collectives. If a process exits, its connections are closed and the others stop immediately; the timeout is
# for a host that does not respond. It must be longer than rank 0 works without the others between two trainings
# (reading data, evaluating a fold).
COLLECTIVE_TIMEOUT = timedelta(hours=3)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Share:
    """The part of a batch that a rank processes.

    If the batch is too small for all ranks, the remaining ranks process the part of the first rank with weight 0
    (`is_padding`), because every rank must take part in every collective.
    """

    batch: Batch
    is_padding: bool = False

    @property
    def images(self) -> int:
        """Number of images with a weight above 0."""
        return 0 if self.is_padding else len(self.batch.image)


@dataclass(frozen=True)
class Ranks:
    """Rank of this process and number of processes; by default, a single process without communication."""

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this is the main process."""
        return self.rank == 0

    def share(self, batch: Batch) -> Share:
        """The part of `batch` for this rank.

        Args:
            batch: The same batch on every rank.

        Returns:
            One of at most `size` parts of about equal size, with at least two images each if the batch has two.
        """
        if self.size == 1:
            return Share(batch)
        parts = batch.split(self.size)
        return Share(parts[self.rank]) if self.rank < len(parts) else Share(parts[0], is_padding=True)

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over ranks; the result is bitwise equal on all ranks."""
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        parts = torch.split(self.add(flat), [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def sum(self, value: float) -> float:
        """The sum of `value` over ranks."""
        if self.size == 1:
            return value
        return self.add(torch.tensor(value, dtype=torch.float64)).item()

    def gather(self, values: Tensor) -> Tensor:
        """Gather `values` (n,) of all ranks, in the order of ranks: (size, n)."""
        rows = [torch.empty_like(values) for _ in range(self.size)]
        self.run_collective(lambda: dist.all_gather(rows, values))
        return torch.stack(rows)

    def add(self, values: Tensor) -> Tensor:
        """Sum `values` over ranks, in place, and return it."""
        self.run_collective(lambda: dist.all_reduce(values))
        return values

    def broadcast(self, value: Any) -> Any:
        """Broadcast `value` from rank 0 to all ranks. The argument of the other ranks is ignored."""
        if self.size == 1:
            return value
        box = [value]
        self.run_collective(lambda: dist.broadcast_object_list(box, src=0, device=torch.device("cpu")))
        return box[0]

    def run_collective(self, collective: Callable[[], Result]) -> Result:
        """Run a collective and return its result.

        Raises:
            ProcessError: Another process exited or does not respond.
        """
        try:
            return collective()
        except RuntimeError as error:  # common base class of the errors of all backends
            raise ProcessError(
                f"Process {self.rank} of {self.size} lost contact with the others ({str(error).splitlines()[0]}). "
                "The first process that exited reports the reason above or in its log. Start all again with --resume."
            ) from error


SINGLE_PROCESS = Ranks()


def current_ranks() -> Ranks:
    """The ranks of the current process group, or a single process without a group."""
    if not (dist.is_available() and dist.is_initialized()):
        return SINGLE_PROCESS
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Context with a process group of all processes started by `torchrun`, or a single process without it.

    GPU tensors are communicated by NCCL, with one GPU per process, and CPU tensors by gloo.

    Args:
        device: Device of the training. If it is a GPU, each process uses the one with the number of its local rank.

    Yields:
        The ranks.

    Raises:
        SettingError: There are fewer GPUs than processes on this machine.
        ProcessError: The processes cannot connect.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE_PROCESS
        return
    cuda = device.type == "cuda"
    if cuda:
        _take_own_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=COLLECTIVE_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes cannot connect "
            f"({str(error).splitlines()[0]}). Start them with torchrun (docs/compare/cluster.md), or unset WORLD_SIZE."
        ) from error
    # Not in a `finally`: after an error, other processes may wait in a collective until this process exits.
    yield current_ranks()
    dist.destroy_process_group()


def _take_own_gpu(local_rank: int) -> None:
    if local_rank >= (count := torch.cuda.device_count()):
        raise SettingError(
            f"Process {local_rank} of this machine has no GPU of its own: there are {count}. Give torchrun "
            f"--nproc-per-node {count}, or train on the CPU with --device cpu."
        )
    torch.cuda.set_device(local_rank)
