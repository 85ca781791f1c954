"""What `train` and `compare` draw and log of each training, and the option --track."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from taichinet.experiments.observer import Observe

Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="tensorboard|mlflow",
        help="Also log epochs, settings and scores for TensorBoard or MLflow (extra 'track'), in files below --output.",
    ),
]


def make_observers(track: str | None, out: Path) -> tuple[Observe, ...]:
    """The images in each run folder, and the logger `track`; raises SettingError if it is unknown or not installed."""
    from taichinet.experiments.tracking.tracker import open_tracker
    from taichinet.reports.run_images import RunImages

    return (RunImages,) if track is None else (RunImages, open_tracker(track, out))
