"""Images are scored in threads: order, errors and interruption are those of one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import FLOAT32_CPU
from numpy.typing import NDArray
from torch import nn
from training.test_launch import Event as GpuEvent

from taichinet.batch import Batch, Prediction
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import DataError
from taichinet.evaluation.confidence import ConfidenceKeeper
from taichinet.evaluation.metrics import dice_score, score_mask
from taichinet.experiments import scoring
from taichinet.experiments.scoring import score_images
from taichinet.training.device import DeviceConfig
from taichinet.training.launch import Launch
from taichinet.training.loop import NotFiniteError, network_outputs

MASKS = Manifest.region_masks


class Brightness(nn.Module):
    """Two paths whose outputs depend on the image."""

    def forward(self, image: torch.Tensor) -> Prediction:
        return Prediction(positive=8 * image - 3, negative=2 - 8 * image)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Prepared]:
    manifest = DATASET.read(write_phantom_busi(tmp_path_factory.mktemp("busi"), 4, 3, 1, seed=1, size=(64, 80)))
    return manifest, prepare(manifest, 32, 1)


def score(phantoms: tuple[Manifest, Prepared]) -> tuple[pd.DataFrame, ConfidenceKeeper]:
    confidences = ConfidenceKeeper("lesion")
    return score_images(Brightness(), *phantoms, 0, FLOAT32_CPU, confidences=confidences).rows, confidences


@pytest.fixture
def launched_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 3 that are done only when they are waited for, as on a GPU."""
    monkeypatch.setattr(scoring, "BATCH_SIZE", 3)
    monkeypatch.setattr(Launch, "done", lambda launch: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)


def replace_masks(monkeypatch: pytest.MonkeyPatch, before: Any) -> None:
    """Call `before` with the key of each sample whose masks are read."""

    def masks(manifest: Manifest, sample: Sample) -> NDArray[np.bool_]:
        before(sample.key)
        return MASKS(manifest, sample)

    monkeypatch.setattr(Manifest, "region_masks", masks)


@pytest.mark.usefixtures("launched_ahead")
def test_rows_and_confidences_keep_their_order_if_the_first_image_takes_longest(
    phantoms: tuple[Manifest, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, threads = phantoms[1].keys, set[int]()
    finished: list[str] = []

    def wait(key: str) -> None:
        threads.add(threading.get_ident())
        if key == keys[0]:
            time.sleep(0.3)
        finished.append(key)

    replace_masks(monkeypatch, wait)
    rows, confidences = score(phantoms)
    assert finished[0] != keys[0]
    assert threading.get_ident() not in threads
    assert tuple(rows["key"]) == tuple(confidences.by_key) == keys


def test_scores_do_not_depend_on_threads_and_launches(
    phantoms: tuple[Manifest, Prepared], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    rows, confidences = score(phantoms)
    request.getfixturevalue("launched_ahead")
    rows_ahead, confidences_ahead = score(phantoms)
    pd.testing.assert_frame_equal(rows, rows_ahead, check_exact=True)
    assert confidences == confidences_ahead


def test_gpu_computes_the_next_batches_while_images_are_scored(
    phantoms: tuple[Manifest, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of the first batch are only scored after the network was called for the third."""
    sizes, third = list[int](), threading.Event()

    def outputs(network: nn.Module, batches: list[Batch], device_config: DeviceConfig) -> Iterator[Any]:
        sizes.append(len(batches[0].image))
        if len(sizes) == 3:
            third.set()
        return network_outputs(network, batches, FLOAT32_CPU)

    def wait(key: str) -> None:
        assert third.wait(timeout=10)

    rows, _ = score(phantoms)
    gpu = DeviceConfig(torch.device("cuda"), bf16=False, memory_format=torch.channels_last)
    monkeypatch.setattr(torch.cuda, "Event", GpuEvent)
    monkeypatch.setattr(Prepared, "to", lambda data, device: data)
    monkeypatch.setattr(scoring, "network_outputs", outputs)
    monkeypatch.setattr(scoring, "GPU_BATCH_SIZE", 3)
    replace_masks(monkeypatch, wait)
    rows_of_gpu = score_images(Brightness(), *phantoms, 0, gpu).rows
    assert sizes == [3, 3, 2]
    pd.testing.assert_frame_equal(rows, rows_of_gpu, check_exact=True)


@pytest.mark.usefixtures("launched_ahead")
@pytest.mark.parametrize("error", [DataError("mask 2.png cannot be read"), KeyboardInterrupt()])
def test_error_of_an_image_ends_the_scoring(
    phantoms: tuple[Manifest, Prepared], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(key: str) -> None:
        if key == phantoms[1].keys[2]:
            raise error

    replace_masks(monkeypatch, fail)
    with pytest.raises(type(error)) as raised:
        score(phantoms)
    assert raised.value is error
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("score")]


@pytest.mark.usefixtures("launched_ahead")
def test_output_that_is_not_finite_is_refused(phantoms: tuple[Manifest, Prepared]) -> None:
    class Damaged(Brightness):
        def forward(self, image: torch.Tensor) -> Prediction:
            return Prediction(positive=image, negative=image / 0)

    with pytest.raises(NotFiniteError, match="second path"):
        score_images(Damaged(), *phantoms, 0, FLOAT32_CPU)


@pytest.mark.parametrize("prediction", ["0000", "0110", "1111"])
@pytest.mark.parametrize("truth", ["0000", "0011", "1111"])
def test_dice_alone_is_that_of_all_scores(prediction: str, truth: str) -> None:
    predicted, true = (np.array([[digit == "1" for digit in digits]]) for digits in (prediction, truth))
    assert dice_score(predicted, true) == pytest.approx(score_mask(predicted, true).dice, nan_ok=True, abs=0)
