"""CUDA graphs of training steps: the kernels of a step are launched at once, without the time of Python in between."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from taichinet.batch import Batch

_EAGER_STEPS = 2  # before a step is captured, so that libraries and the state of the optimiser are initialised


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: Tensor

    def replay(self, batch: Batch) -> Tensor:
        for own, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            own.copy_(new)
        self.graph.replay()
        return self.loss.clone()


class StepGraphs:
    """The graphs of the training steps of one network, one per kind of step and shape of the batch.

    The graphs share their memory, since no value of one is needed by another. A step that cannot be captured is run as
    before, with a warning.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._captured: dict[Hashable, _Captured] = {}
        self._eager: Counter[Hashable] = Counter()
        self._possible = True

    def run(self, kind: str, batch: Batch, step: Callable[[Batch], Tensor]) -> Tensor:
        """One training step.

        Args:
            kind: Name of the loss of the step. All other inputs of `step` are the same in all calls, or tensors on the
                device that are changed in place.
            batch: The batch, on the device.
            step: Function from a batch to its loss, which changes weights and optimiser.

        Returns:
            The loss, a scalar on the device.
        """
        key = (kind, *((tensor.shape, tensor.stride()) for tensor in _tensors(batch)))
        if self._possible and key not in self._captured and self._eager[key] == _EAGER_STEPS:
            self._capture(key, batch, step)
        if key in self._captured:
            return self._captured[key].replay(batch)
        self._eager[key] += 1
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = step(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _capture(self, key: Hashable, batch: Batch, step: Callable[[Batch], Tensor]) -> None:
        """Record the kernels of `step` without running them."""
        own = Batch(*(None if value is None else value.clone() for value in _values(batch)))  # type: ignore[arg-type]
        pool = next((captured.graph.pool() for captured in self._captured.values()), None)
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: the thread that writes checkpoints may copy tensors meanwhile.
            with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
                loss = step(own)
        except RuntimeError as error:
            self._possible = False
            reason = str(error).splitlines()[0]
            warnings.warn(
                f"The training step cannot be captured as a CUDA graph ({reason}); it is slower.", stacklevel=2
            )
            return
        self._captured[key] = _Captured(graph, own, loss)


def _values(batch: Batch) -> list[Tensor | None]:
    return [getattr(batch, field.name) for field in fields(batch)]


def _tensors(batch: Batch) -> list[Tensor]:
    return [value for value in _values(batch) if value is not None]
