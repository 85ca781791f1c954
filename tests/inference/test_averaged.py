"""Means of several outputs: mirror images and ensembles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from helpers import FLOAT32_CPU, tiny_network
from numpy.typing import NDArray

from inference.test_predictor import random_weights
from taichinet.batch import Prediction
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.averaged import Ensemble, MirroredRuntime
from taichinet.inference.runtimes.eager import Eager
from taichinet.inference.runtimes.runtime import Maps, RuntimeDescription
from taichinet.models.mirrored import Mirrored

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 1, 32, 32), dtype=np.uint8)


@dataclass(frozen=True)
class LeftHalf:
    """A runtime that predicts `value` in the left half of every image."""

    value: float
    disagreement: bool = True

    @property
    def description(self) -> RuntimeDescription:
        return RuntimeDescription("fake", "float32")

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        lesion = np.zeros((len(images), *images.shape[-2:]), np.float32)
        lesion[..., : images.shape[-1] // 2] = self.value
        return Maps(lesion, (lesion / 2).astype(np.float32) if self.disagreement else None)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    maps = Ensemble((LeftHalf(0.2), LeftHalf(0.6))).maps(IMAGES)
    assert np.allclose(maps.lesion[..., :16], 0.4)
    assert maps.disagreement is not None
    assert np.allclose(maps.disagreement, maps.lesion / 2)
    assert maps.lesion.dtype == np.float32


def test_an_ensemble_with_a_member_of_one_path_has_no_disagreement() -> None:
    assert Ensemble((LeftHalf(0.2), LeftHalf(0.6, disagreement=False))).maps(IMAGES).disagreement is None


def test_the_mirror_image_is_mirrored_back() -> None:
    maps = MirroredRuntime(LeftHalf(0.8)).maps(IMAGES)
    assert np.allclose(maps.lesion, 0.4)
    assert str(MirroredRuntime(LeftHalf(0.8)).description) == "fake (mean with the mirror image) float32"
    assert str(Ensemble((LeftHalf(0.8),) * 3).description) == "fake (mean of 3 networks) float32"


def test_runtime_and_module_agree() -> None:
    loaded = random_weights("taichinet", width=2)
    image = torch.from_numpy(IMAGES).float() / 255
    with torch.inference_mode():
        prediction: Prediction = Mirrored(loaded.network)(image)
    maps = MirroredRuntime(Eager(loaded.network, FLOAT32_CPU)).maps(IMAGES)
    assert np.allclose(prediction.lesion[:, 0].numpy(), maps.lesion, atol=1e-5)
    assert not np.allclose(maps.lesion, Eager(loaded.network, FLOAT32_CPU).maps(IMAGES).lesion, atol=1e-4)


def test_a_predictor_with_mirror_images_is_symmetric() -> None:
    loaded = random_weights("unet", width=2)
    predictor = Predictor(loaded, FLOAT32_CPU, runtime=MirroredRuntime(Eager(loaded.network, FLOAT32_CPU)))
    seen, mirrored = (predictor.predict(IMAGES[0, 0]), predictor.predict(np.ascontiguousarray(IMAGES[0, 0, :, ::-1])))
    assert np.allclose(seen.probability, mirrored.probability[:, ::-1], atol=1e-5)


def test_outputs_that_only_losses_use_are_dropped() -> None:
    prediction = Mirrored(tiny_network("unet++").eval())(torch.rand(1, 1, 32, 32))
    assert prediction.levels == ()
    assert prediction.negative is None
