"""Copies of batches to and from a GPU that the CPU does not wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to `device`; to a GPU from pinned memory, without waiting for its computations."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Launch:
    """A computation on a device, followed by the copy of its results to the CPU; on a GPU neither is waited for."""

    def __init__(self, device: torch.device, compute: Callable[[], Sequence[Tensor]]) -> None:
        """Launch `compute`, whose results are tensors on `device`."""
        on_gpu = device.type == "cuda"
        self._events = [torch.cuda.Event(enable_timing=True, blocking=True) for _ in range(2)] if on_gpu else []
        began = time.perf_counter()
        for event in self._events[:1]:
            event.record()
        self._results = [result.to("cpu", non_blocking=on_gpu) for result in compute()]  # into pinned memory
        for event in self._events[1:]:
            event.record()
        self._seconds = time.perf_counter() - began

    def done(self) -> bool:
        """Whether the results are on the CPU."""
        return all(event.query() for event in self._events)

    def results(self) -> list[Tensor]:
        """The results on the CPU. Waits until they are there."""
        for event in self._events:
            event.synchronize()
        return self._results

    def seconds(self) -> float:
        """Time from the start of the computation to the results on the CPU, without earlier work of the GPU."""
        self.results()
        if not self._events:
            return self._seconds
        began, ended = self._events
        return float(began.elapsed_time(ended)) / 1000
