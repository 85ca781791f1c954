"""Prediction of a folder with a runtime on a GPU: order, errors and interruption are those of the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from inference.test_folder import GreyRuntime
from taichinet.inference import folder
from taichinet.inference.folder import Plan, predict_files
from taichinet.inference.outputs import Journal
from taichinet.inference.predictor import Predictor
from taichinet.inference.rows import Row
from taichinet.inference.runtimes.eager import PLAIN
from taichinet.inference.runtimes.runtime import Maps
from taichinet.models.catalogue import create_model
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig

BATCH = 4


class Pending:
    def __init__(self, runtime: GpuRuntime, images: NDArray[np.uint8], number: int) -> None:
        self._runtime, self._images, self._number = runtime, images, number

    def done(self) -> bool:
        return False

    def maps(self) -> Maps:
        self._runtime.log.append(f"wait {self._number}")
        if self._runtime.full_while_waiting:
            raise MemoryError("no room")
        return self._runtime.maps(self._images)


class GpuRuntime(GreyRuntime):
    """Stands in for a GPU: a launched batch is done only when it is waited for."""

    def __init__(self, room: int = BATCH, full_while_waiting: bool = False) -> None:
        super().__init__(room)
        self.full_while_waiting = full_while_waiting
        self.log: list[str] = []

    def launch(self, images: NDArray[np.uint8]) -> Pending:
        if len(images) > self.room:
            raise MemoryError("no room")
        number = sum(line.startswith("launch") for line in self.log)
        self.log.append(f"launch {number}")
        return Pending(self, images, number)


def scans(root: Path, count: int) -> dict[Path, str]:
    """Write `count` images; the grey value of image n is 10 n, its height 20 + n."""
    names = {root / f"{number:02}.png": f"{number:02}" for number in range(count)}
    for number, file in enumerate(names):
        Image.fromarray(np.full((20 + number, 30), 10 * number, np.uint8)).save(file)
    (root / "out").mkdir()
    return names


def predictor_with(runtime: GreyRuntime, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.setattr(folder, "GPU_BATCH_SIZE", BATCH)
    network = create_model("unet", width=2).eval()
    predictor = Predictor(
        LoadedWeights(lambda: network, WeightsConfig("unet", {"width": 2}, 32)), PLAIN, runtime=runtime
    )
    predictor.device = "cuda:0"
    return predictor


def run(predictor: Predictor, names: Mapping[Path, str], journal: Journal | None = None) -> list[Row]:
    return list(predict_files(predictor, names, next(iter(names)).parent / "out", journal))


def assert_complete(rows: list[Row], names: Mapping[Path, str]) -> None:
    assert [row.file for row in rows] == [str(file) for file in names]
    assert [row.error for row in rows] == [None] * len(names)
    assert [row.max_probability for row in rows] == pytest.approx([n * 10 / 255 for n in range(len(names))], abs=1e-6)
    assert [row.height for row in rows] == [20 + number for number in range(len(names))]


def test_next_batch_is_launched_before_the_last_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, runtime = scans(tmp_path, 2 * BATCH + 1), GpuRuntime()
    assert_complete(run(predictor_with(runtime, monkeypatch), names), names)
    assert runtime.log == ["launch 0", "launch 1", "wait 0", "launch 2", "wait 1", "wait 2"]
    assert runtime.batch_sizes == [BATCH, BATCH, 1]


@pytest.mark.parametrize("runtime", [GpuRuntime(room=1), GpuRuntime(full_while_waiting=True)])
def test_batch_that_exceeds_the_memory_is_predicted_image_by_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: GpuRuntime
) -> None:
    names = scans(tmp_path, BATCH + 2)
    assert_complete(run(predictor_with(runtime, monkeypatch), names), names)
    assert runtime.batch_sizes == [1] * (BATCH + 2)


def test_file_that_cannot_be_read_fails_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = scans(tmp_path, 2 * BATCH)
    broken = list(names)[5]
    broken.write_bytes(broken.read_bytes()[:30])
    rows = run(predictor_with(GpuRuntime(), monkeypatch), names)
    assert [row.file for row in rows if row.error is not None] == [str(broken)]
    assert str(broken) in str(rows[5].error)


def test_batch_whose_files_all_fail_is_not_launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, runtime = scans(tmp_path, BATCH), GpuRuntime()
    for file in names:
        file.write_bytes(b"")
    rows = run(predictor_with(runtime, monkeypatch), names)
    assert [row.status for row in rows] == ["failed"] * BATCH
    assert not runtime.log


def test_interruption_keeps_launched_batches_and_the_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, runtime = scans(tmp_path, 4 * BATCH), GpuRuntime()
    predictor = predictor_with(runtime, monkeypatch)
    files = list(names)
    read = folder._read

    def interrupted(predictor: Predictor, file: Path, overlay: bool) -> object:
        if file == files[2 * BATCH + 1]:
            raise KeyboardInterrupt
        return read(predictor, file, overlay)

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_read", interrupted)
        with Journal(tmp_path / "out", "settings", names) as journal, pytest.raises(KeyboardInterrupt):
            run(predictor, names, journal)
    assert set(journal.rows) == {str(file) for file in files[: 2 * BATCH + 1]}
    with Journal(tmp_path / "out", "settings", names) as journal:
        assert len(journal.rows) == 2 * BATCH + 1
        rows = run(predictor, names, journal)
        assert_complete(sorted(rows, key=lambda row: row.file), names)
        assert journal.rows.keys() == {str(file) for file in names}


@pytest.mark.parametrize(
    ("device", "threads", "expected"),
    [
        ("cpu", 16, Plan(batch=8, readers=1, writers=2)),
        ("mps", 16, Plan(batch=8, readers=1, writers=2)),
        ("cuda:0", 1, Plan(batch=64, readers=1, writers=2)),
        ("cuda:1", 16, Plan(batch=64, readers=4, writers=12)),
    ],
)
def test_threads_use_all_cores_beside_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, threads: int, expected: Plan
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert Plan.for_device(device) == expected
