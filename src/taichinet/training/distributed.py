"""The processes of one training under `torchrun`: who they are, each one's share of a batch, and sums over all of them.

Rank 0 leads: it alone runs the command, reads data, validates, writes and prints. The other ranks follow
(training/following.py): for every training they are handed what they need and take part in its steps.

Gradients are summed here, in one buffer once an optimiser step, and not by torch's DistributedDataParallel: that
averages over ranks whatever their shares are, exchanges after every micro-batch, and renames the checkpoint's keys.
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

# A process that ends closes its connections, which ends the others at once. This is for a host that falls silent, and
# longer than rank 0 may work alone between two trainings (reading data, scoring a fold).
SILENCE = timedelta(hours=3)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Share:
    """A rank's part of a batch. `counts` is false where the batch is too small for all ranks and this one stands in.

    A rank that stands in passes the first rank's part with no weight, because every rank must take part in every
    exchange.
    """

    batch: Batch
    counts: bool = True

    @property
    def images(self) -> int:
        """Images that count."""
        return len(self.batch.image) if self.counts else 0


@dataclass(frozen=True)
class Ranks:
    """This process among the `size` processes of a training; one alone by default, which exchanges nothing."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process runs the command."""
        return self.rank == 0

    def share(self, batch: Batch) -> Share:
        """This rank's part of `batch`, which is the same on every rank; of two images at least, of even size."""
        if self.size == 1:
            return Share(batch)
        parts = batch.split(self.size)
        return Share(parts[self.rank]) if self.rank < len(parts) else Share(parts[0], counts=False)

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over ranks, the same bits on each of them."""
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self.exchange(lambda: dist.all_reduce(flat))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def sum(self, value: float) -> float:
        """The sum of every rank's `value`."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        self.exchange(lambda: dist.all_reduce(total))
        return total.item()

    def gather(self, values: Tensor) -> Tensor:
        """Every rank's `values` (n,), stacked in the order of ranks: (size, n)."""
        rows = [torch.empty_like(values) for _ in range(self.size)]
        self.exchange(lambda: dist.all_gather(rows, values))
        return torch.stack(rows)

    def add(self, values: Tensor) -> Tensor:
        """The sum over ranks of `values`, which it overwrites."""
        self.exchange(lambda: dist.all_reduce(values))
        return values

    def hand_out(self, value: Any) -> Any:
        """What rank 0 gives, on every rank; the others give None."""
        if self.size == 1:
            return value
        box = [value]
        self.exchange(lambda: dist.broadcast_object_list(box, src=0, device=torch.device("cpu")))
        return box[0]

    def exchange(self, collective: Callable[[], Answer]) -> Answer:
        """What `collective` answers; ProcessError where another process has ended or fallen silent."""
        try:
            return collective()
        except RuntimeError as error:  # of every backend's errors the one common base
            raise ProcessError(
                f"Process {self.rank} of {self.size} lost contact with the others ({str(error).splitlines()[0]}). "
                "What ended first says why above or in its own log; then start all of them again with --resume."
            ) from error


ALONE = Ranks()


def present_ranks() -> Ranks:
    """The ranks of the process group that this process has joined; one alone without a group."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group() -> Iterator[Ranks]:
    """For as long as the block runs, the group of all processes that `torchrun` started; one alone without it.

    Tensors on a GPU go through NCCL, one GPU a process, all others through gloo. Raises SettingError where there are
    fewer GPUs than processes on this machine, ProcessError where the processes do not find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    cuda = torch.cuda.is_available()
    if cuda:
        _take_own_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=SILENCE)
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes do not find each other "
            f"({str(error).splitlines()[0]}). Start them with torchrun (docs/cluster.md), or unset WORLD_SIZE."
        ) from error
    # Not in a `finally`: after an error the others may hang in an exchange, which only the end of this process ends.
    yield present_ranks()
    dist.destroy_process_group()


def _take_own_gpu(local_rank: int) -> None:
    if local_rank >= (count := torch.cuda.device_count()):
        raise SettingError(
            f"Process {local_rank} of this machine has no GPU of its own: there are {count}. Give torchrun "
            f"--nproc-per-node {count}, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU."
        )
    torch.cuda.set_device(local_rank)
