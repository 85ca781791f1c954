"""Loggers of a training for experiment trackers (`--track`): epochs, settings and final scores, in local files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from taichinet.errors import SettingError, unknown_name
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.observer import Observe, Observer
from taichinet.experiments.tracking.mlflow import MLflow
from taichinet.experiments.tracking.tensorboard import TensorBoard

TRACKERS: dict[str, Callable[[Path, FoldJob], Observer]] = {"mlflow": MLflow, "tensorboard": TensorBoard}
"""By the name of the package that each needs. They are called with the folder of all runs and the job."""


def open_tracker(name: str, out: Path) -> Observe:
    """The logger `name`, for trainings below the folder `out`.

    Raises:
        SettingError: There is no such logger, or its package is not installed.
    """
    if name not in TRACKERS:
        raise unknown_name("tracker", name, sorted(TRACKERS))
    if find_spec(name) is None:
        raise SettingError(f"--track {name} needs the package {name}: pip install 'taichinet[track]'.")
    return partial(TRACKERS[name], out.absolute())
