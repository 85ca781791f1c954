"""Prediction of a folder: every image has a result, also if other images fail."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from taichinet.inference.folder import BATCH_SIZE, predict_files
from taichinet.inference.predictor import MaskPrediction, NetworkInput, Predictor
from taichinet.inference.rows import Row
from taichinet.inference.runtimes.eager import PLAIN
from taichinet.inference.runtimes.runtime import Maps, RuntimeDescription
from taichinet.models.catalogue import create_model
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig


class GreyRuntime:
    """Returns the grey values of the image as probability; has memory for at most `room` images."""

    description = RuntimeDescription("eager", "float32")

    def __init__(self, room: int) -> None:
        self.room, self.batch_sizes, self.threads = room, list[int](), set[int]()

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        self.batch_sizes.append(len(images))
        self.threads.add(threading.get_ident())
        if len(images) > self.room:
            raise MemoryError("no room")
        return Maps(lesion=images[:, 0].astype(np.float32) / np.float32(255), disagreement=None)


def predict(folder: Path, runtime: GreyRuntime, count: int) -> list[Row]:
    """Predict `count` images; the grey value of image n is 10 n."""
    output = folder / "out"
    output.mkdir()
    files = []
    for number in range(count):
        files.append(folder / f"{number}.png")
        Image.fromarray(np.full((20 + number, 30), 10 * number, np.uint8)).save(files[-1])
    network = create_model("unet", width=2).eval()
    predictor = Predictor(
        LoadedWeights(lambda: network, WeightsConfig("unet", {"width": 2}, 32)), PLAIN, runtime=runtime
    )
    return list(predict_files(predictor, {file: file.stem for file in files}, output))


@pytest.mark.parametrize("room", [BATCH_SIZE, 1])
def test_every_image_has_its_own_result_in_order_and_at_its_size(tmp_path: Path, room: int) -> None:
    runtime = GreyRuntime(room)
    rows = predict(tmp_path, runtime, BATCH_SIZE + 3)
    assert [row.status for row in rows] == ["done"] * (BATCH_SIZE + 3)
    assert [row.height for row in rows] == [20 + number for number in range(BATCH_SIZE + 3)]
    for number, row in enumerate(rows):
        assert row.max_probability == pytest.approx(10 * number / 255, abs=1e-6)
        written = np.asarray(Image.open(tmp_path / "out" / f"{number}_probability.png"))
        assert written.shape == (20 + number, 30)
        assert np.all(written == 10 * number)
    assert runtime.batch_sizes[0] == BATCH_SIZE
    assert (1 in runtime.batch_sizes) == (room == 1), (
        "images are predicted one by one only if the batch does not fit into memory"
    )
    assert runtime.threads == {threading.get_ident()}, "the network must not run in two threads at the same time"


def test_maps_are_measured_in_another_thread_than_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, threads = Predictor.at_original_size, set[int]()

    def record_thread(self: Predictor, maps: Maps, index: int, image: NetworkInput) -> MaskPrediction:
        threads.add(threading.get_ident())
        return measure(self, maps, index, image)

    monkeypatch.setattr(Predictor, "at_original_size", record_thread)
    predict(tmp_path, GreyRuntime(BATCH_SIZE), 3)
    assert threads
    assert threading.get_ident() not in threads


def test_image_that_exceeds_memory_fails_with_its_name(tmp_path: Path) -> None:
    rows = predict(tmp_path, GreyRuntime(0), 2)
    assert [row.status for row in rows] == ["failed"] * 2
    assert all(row.error is not None and f"{number}.png" in row.error for number, row in enumerate(rows))


CPU_ALLOCATION_ERROR = (
    "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


@pytest.mark.parametrize(
    "fault", [MemoryError(), RuntimeError(CPU_ALLOCATION_ERROR), torch.OutOfMemoryError("CUDA out of memory.")]
)
@pytest.mark.parametrize("place", ["prepare", "network_maps", "at_original_size"])
def test_allocation_error_fails_only_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, place: str
) -> None:
    """Only image 3 has 23 rows, so the failing steps recognise it by its size."""
    step = getattr(Predictor, place)

    def fail_on_image_3(self: Predictor, *arguments: Any) -> Any:
        last = arguments[0] if place == "prepare" else arguments[-1]
        images = last if isinstance(last, list) else [last]
        if any(getattr(image, "original_size", np.shape(image))[0] == 23 for image in images):
            raise fault
        return step(self, *arguments)

    monkeypatch.setattr(Predictor, place, fail_on_image_3)
    rows = predict(tmp_path, GreyRuntime(BATCH_SIZE), BATCH_SIZE + 2)
    assert [row.status for row in rows] == ["failed" if number == 3 else "done" for number in range(BATCH_SIZE + 2)]
    assert rows[3].error is not None
    assert "3.png: there is not enough memory" in rows[3].error
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == BATCH_SIZE + 1


def test_other_runtime_error_is_not_reported_as_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Predictor, "at_original_size", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        predict(tmp_path, GreyRuntime(BATCH_SIZE), 2)


def test_non_finite_prediction_fails_only_its_image(tmp_path: Path) -> None:
    class Damaged(GreyRuntime):
        def maps(self, images: NDArray[np.uint8]) -> Maps:
            maps = super().maps(images)
            maps.lesion[maps.lesion == 20 / 255] = np.nan
            return maps

    rows = predict(tmp_path, Damaged(BATCH_SIZE), 4)
    assert [row.status for row in rows] == ["done", "done", "failed", "done"]
    assert "2.png: the prediction of the weights unet (eager float32)" in str(rows[2].error)
    assert not list((tmp_path / "out").glob("2_*"))
