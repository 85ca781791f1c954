"""Adam, on a GPU as one kernel whose learning rate can change within a CUDA graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_OF_THE_DEVICE = ("lr", "fused", "foreach", "capturable")


def make_adam(
    network: nn.Module, learning_rate: float, device: torch.device, state: dict[str, Any] | None = None
) -> torch.optim.Adam:
    """Adam for the parameters of `network`, which are on `device`.

    Args:
        network: The network.
        learning_rate: Initial learning rate, see `set_learning_rate`.
        device: Device of the parameters.
        state: State dict to continue from, of any device.

    Returns:
        The optimiser.
    """
    if device.type == "cuda":
        rate: float | Tensor = torch.tensor(learning_rate, device=device)
        optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True, capturable=True)
    else:
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    if state:
        own = optimizer.state_dict()["param_groups"]
        groups = [
            {**saved, **{key: group[key] for key in _OF_THE_DEVICE}}
            for saved, group in zip(state["param_groups"], own, strict=True)
        ]
        optimizer.load_state_dict({**state, "param_groups": groups})
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters; on a GPU in place, so that captured steps use it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
