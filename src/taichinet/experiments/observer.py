"""Observers of a training, which draw or log its epochs and its result.

They cannot change the result of a training, and an observer that fails does not end it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from taichinet.evaluation.decision import Decision

if TYPE_CHECKING:
    from taichinet.experiments.fold_job import FoldJob
    from taichinet.experiments.records import FoldRecord, TrainingRecord


logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Observes one training, which may be a resumed one."""

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Take the row of a completed epoch, which history.csv has already."""

    def completed(self, network: nn.Module, decision: Decision, record: FoldRecord | TrainingRecord) -> None:
        """Take the result of a training: the selected weights, the decision and the record.

        The record is written afterwards. If the process is killed in between, the resumed training calls this again.
        """


Observe = Callable[["FoldJob"], Observer]
"""Starts to observe a job. `compare` sends it to other processes, so it must be picklable."""


class Observers:
    """The observers of a job. One that fails is removed with a warning."""

    def __init__(self, job: FoldJob) -> None:
        self._folder = job.folder
        self._active: list[Observer] = []
        for observe in job.observers:
            self._guard(partial(self._start, observe, job))

    def _start(self, observe: Observe, job: FoldJob) -> None:
        self._active.append(observe(job))

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Call `after_epoch` of each observer."""
        for observer in tuple(self._active):
            self._guard(partial(observer.after_epoch, row), observer)

    def completed(self, network: nn.Module, decision: Decision, record: FoldRecord | TrainingRecord) -> None:
        """Call `completed` of each observer."""
        for observer in tuple(self._active):
            self._guard(partial(observer.completed, network, decision, record), observer)

    def _guard(self, call: Callable[[], None], observer: Observer | None = None) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - a training of hours must not end because a chart cannot be drawn
            if observer is not None:
                self._active.remove(observer)
            name = "An observer" if observer is None else type(observer).__name__
            text = "%s of the training in %s failed (%s: %s). The training continues without it."
            logger.warning(text, name, self._folder, type(error).__name__, error)
