"""A run with the precision "auto" that was begun on a device with another default precision is the same run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import same_weights

from experiments.test_run import UNET, SimulatedCrashError, Study, crash_after
from taichinet.errors import FoldError
from taichinet.experiments.experiment import vary
from taichinet.experiments.records import FoldResult
from taichinet.models.weights import load_weights
from taichinet.training import device as device_module

AUTO = vary(UNET, {"training.precision": "auto"})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def use_default(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    """Pretend that this device computes natively in bf16, or only in float32."""
    monkeypatch.setattr(device_module, "_native_bf16", lambda device: bf16)


@pytest.mark.parametrize("bf16", [False, True])
def test_resumed_run_keeps_its_precision_and_gives_the_same_result(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool
) -> None:
    use_default(monkeypatch, bf16)
    whole = study.run(tmp_path / "whole", AUTO)
    with pytest.raises(SimulatedCrashError):
        study.run(tmp_path / "resumed", AUTO, on_epoch=crash_after(2))
    use_default(monkeypatch, not bf16)
    resumed = study.run(tmp_path / "resumed", AUTO, resume=True)
    assert precision(resumed) == precision(whole) == ("bf16" if bf16 else "float32")
    assert resumed.record.identity == whole.record.identity
    assert same_weights(*(load_weights(fold.folder / "weights").network for fold in (whole, resumed)))


def test_finished_run_is_read_back(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_default(monkeypatch, bf16=False)
    finished = study.run(tmp_path, AUTO)
    use_default(monkeypatch, bf16=True)
    trained: list[object] = []
    assert study.run(tmp_path, AUTO, resume=True, on_epoch=lambda *row: trained.append(row)).record == finished.record
    assert not trained


def test_new_run_and_explicit_precision_use_the_precision_of_the_device_and_of_the_setting(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_default(monkeypatch, bf16=True)
    assert precision(study.run(tmp_path / "new", AUTO, resume=True)) == "bf16"
    with pytest.raises(FoldError, match=r"training\.precision was auto and is float32 now"):
        study.run(tmp_path / "new", UNET, resume=True)


def test_precision_is_read_from_the_previous_checkpoint_if_the_newest_is_damaged(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_default(monkeypatch, bf16=False)
    with pytest.raises(SimulatedCrashError):
        study.run(tmp_path, AUTO, on_epoch=crash_after(2))
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    use_default(monkeypatch, bf16=True)
    with pytest.warns(UserWarning, match="an earlier epoch"):
        assert precision(study.run(tmp_path, AUTO, resume=True)) == "float32"


def precision(fold: FoldResult) -> str:
    return fold.record.placement.split()[1]
