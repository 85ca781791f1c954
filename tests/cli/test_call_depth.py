"""`taichinet train` reaches `backward()` in six frames of the package.

The last is that of the optimiser step, which is an object of its own because a GPU captures it.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

import taichinet
from taichinet.cli.train import train
from taichinet.datasets.phantoms.folder import write_phantom_busi

PACKAGE = Path(taichinet.__file__).parent
SETTINGS = ["data.size=32", "options.width=2", "training.epochs=1", "data.folds=2", "data.validation_share=0.5"]


class BackwardError(Exception):
    """Raised by the first call of `backward`."""


def test_six_frames_from_the_command_to_backward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count includes the frame of the command function and the frame that calls `backward`."""
    stacks: list[list[traceback.FrameSummary]] = []

    def backward(*_: Any, **__: Any) -> None:
        stacks.append(list(traceback.extract_stack()))
        raise BackwardError

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    data = write_phantom_busi(tmp_path / "data", 6, 6, 0, seed=1, size=(64, 64))
    with pytest.raises(BackwardError):
        train("short-unet", [f"busi={data}"], ["0"], assignments=SETTINGS, out=tmp_path / "runs")
    stack = [
        f"{Path(frame.filename).stem}.{frame.name}" for frame in stacks[0] if PACKAGE in Path(frame.filename).parents
    ]
    outer = ["train.train", "cross_validate.train_folds", "run.run_fold", "fit.fit"]
    assert stack == [*outer, "loop.train_epoch", "loop.__call__"]
