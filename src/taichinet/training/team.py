"""Several processes that train one network: which rows of a batch are whose, and what is summed over all of them.

Started by `torchrun`, every process draws the same batch from the same seed and takes its share of the images. The
loss, the gradient and the statistics of every BatchNorm are those of the whole batch, so the training is that of one
process but for the order in which numbers are summed. A process alone is a team of one, in which all of this is the
identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from taichinet.batch import Batch
from taichinet.errors import SettingError


@dataclass(frozen=True)
class Team:
    """This process' number and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files; one of each team does."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process' images of `batch`; SettingError where there are fewer images than processes."""
        if self.size == 1:
            return batch
        count = len(batch.image)
        if count < self.size:
            raise SettingError(
                f"A batch of {count} images cannot be shared by {self.size} processes. Start fewer, or raise "
                "training.batch_size."
            )
        rows = torch.tensor_split(torch.arange(count), self.size)[self.rank]
        parts = (None if part is None else part[rows] for part in (batch.easy, batch.hard))
        return Batch(batch.image[rows], batch.lesion[rows], *parts)

    def weigh(self, loss: Tensor, images: int, all_images: int) -> Tensor:
        """A mean over this process' images -> its part of the mean over all, so that the parts add up."""
        return loss if self.size == 1 else loss * (images / all_images)

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace each gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.reshape(gradient.shape))

    def sum(self, value: float, device: torch.device) -> float:
        """The sum of a number over the processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return float(total)

    def agree(self, flag: bool) -> bool:
        """What the leader sees; the others' view of a shared storage may lag behind."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return self.sum(float(flag and self.leads), device) > 0

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE = Team()


def current_team() -> Team:
    """The team that `torchrun` has made of this process and others; alone outside one."""
    if dist.is_available() and dist.is_initialized():
        return Team(dist.get_rank(), dist.get_world_size())
    return ALONE


@contextmanager
def joined_team() -> Iterator[Team]:
    """Join the processes that `torchrun` started, for the block; without torchrun a team of one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield current_team()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # A day: the leader may wait for another command that mines the same regions, or score a large test part.
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(days=1))
    try:
        yield current_team()
    finally:
        dist.destroy_process_group()


class _TeamNorm(_BatchNorm):
    """Mixed into a BatchNorm whose training statistics are those of every process' images together.

    torch's own SyncBatchNorm runs on GPUs alone.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise (B, C, ...); as torch's BatchNorm in evaluation."""
        if not self.training or current_team().size == 1:
            return super().forward(input)  # type: ignore[no-any-return]
        with torch.autocast(input.device.type, enabled=False):
            values = input.float()
            others = [0, *range(2, values.dim())]
            shape = [1, -1, *[1] * (values.dim() - 2)]
            own = values.new_full((1,), values.numel() // values.shape[1])
            sums = all_reduce(torch.cat([values.sum(others), own]))
            count = sums[-1].detach()
            mean = sums[:-1] / count
            centred = values - mean.view(shape)
            variance = all_reduce(centred.square().sum(others)) / count  # after the mean: no difference of large sums
            self._keep(mean.detach(), variance.detach(), float(count))
            normal = centred * torch.rsqrt(variance + self.eps).view(shape)
            if self.affine:
                normal = normal * self.weight.view(shape) + self.bias.view(shape)
            return normal.to(input.dtype)

    def _keep(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if not self.track_running_stats:
            return
        with torch.no_grad():
            self.num_batches_tracked += 1
            rate = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, rate)
            self.running_var.lerp_(variance * count / max(count - 1, 1), rate)


class TeamNorm2d(_TeamNorm, nn.BatchNorm2d):
    """Of maps (B, C, H, W)."""


class TeamNorm1d(_TeamNorm, nn.BatchNorm1d):
    """Of vectors (B, C)."""


def share_statistics(network: nn.Module, team: Team) -> None:
    """Let every BatchNorm of `network` see the images of all processes; names and weights stay as they are.

    Raises SettingError for a network with another kind of batch normalisation.
    """
    if team.size == 1:
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = TeamNorm2d
        elif type(module) is nn.BatchNorm1d:
            module.__class__ = TeamNorm1d
        elif isinstance(module, _BatchNorm):
            raise SettingError(
                f"{type(module).__name__} of this network cannot share its statistics between processes. Train it in one."
            )
