"""Exponential moving average of the weights of a network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of the weights and running statistics over optimiser steps, in a copy of the network.

    After each step it moves by 1 - `decay` towards the weights. Integers are copied.
    """

    def __init__(self, network: nn.Module, decay: float, state: dict[str, Tensor] | None = None) -> None:
        """Begin with the weights of `network`, or continue from `state`."""
        self.network = copy.deepcopy(network).requires_grad_(False)
        if state:
            self.network.load_state_dict(state)
        averages, values = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in values.items() if value.is_floating_point()]
        self._averages, self._values = ([tensors[name] for name in floats] for tensors in (averages, values))
        others = values.keys() - set(floats)
        self._copies = [(averages[name], values[name]) for name in sorted(others)]
        self._decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        torch._foreach_lerp_(self._averages, self._values, 1 - self._decay)
        for average, value in self._copies:
            average.copy_(value)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Update after each step of `optimizer`, also within a CUDA graph."""
        optimizer.register_step_post_hook(lambda *_: self.update())
