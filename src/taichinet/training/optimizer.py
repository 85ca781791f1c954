"""Adam, AdamW and SGD, on a GPU as one kernel whose learning rate can change within a CUDA graph; the learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from taichinet.training.settings import TrainingSettings

ENCODER = "encoder"
_OF_THE_DEVICE = ("lr", "fused", "foreach", "capturable")


def make_optimizer(
    network: nn.Module, settings: TrainingSettings, device: torch.device, state: dict[str, Any] | None = None
) -> torch.optim.Optimizer:
    """The optimiser for the parameters of `network`, which are on `device`.

    Args:
        network: The network.
        settings: Optimiser and learning rate; `set_learning_rate` changes the latter.
        device: Device of the parameters.
        state: State dict to continue from, of any device.

    Returns:
        The optimiser.
    """
    groups = _parameter_groups(network, settings)
    rates = [settings.learning_rate * group["factor"] for group in groups]
    on_gpu = device.type == "cuda"
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = torch.tensor(rate, device=device) if on_gpu else rate
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":  # its state has no counter of steps, which would have to be capturable
        fused = True if on_gpu else None
        optimizer = torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused)
    else:
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(groups, fused=True, capturable=True) if on_gpu else kind(groups)
    if state:
        own = optimizer.state_dict()["param_groups"]
        loaded = [
            {"factor": group["factor"], **saved, **{key: group[key] for key in _OF_THE_DEVICE if key in group}}
            for saved, group in zip(state["param_groups"], own, strict=True)
        ]
        optimizer.load_state_dict({**state, "param_groups": loaded})
    return optimizer


def _parameter_groups(network: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Parameters by factor of the learning rate and weight decay; one group if these are the same for all."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        factor = settings.encoder_rate if ENCODER in name.split(".") else 1.0
        decay = settings.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """Learning rate in `epoch` (from 0): constant, as in the paper, or cosine decay to 1 % of the initial rate.

    In the warm-up epochs it increases linearly, and the schedule begins after them.
    """
    warmup = settings.warmup_epochs
    if epoch < warmup:
        return settings.learning_rate * (epoch + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    progress = (epoch - warmup) / max(settings.epochs - 1 - warmup, 1)
    return settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, times the factor of each group; on a GPU in place, so that captured steps use it."""
    for group in optimizer.param_groups:
        own = rate * group.get("factor", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own
