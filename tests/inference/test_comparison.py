"""Parity of a candidate with the reference, accumulated over images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from taichinet.inference.export.comparison import Case, compare
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.runtime import Segmentation


def segment(pixels: NDArray[np.uint8]) -> Segmentation:
    return pixels > 127, pixels.astype(np.float32) / np.float32(255)


def test_least_agreement_is_minimum_over_images(tmp_path: Path) -> None:
    cases = []
    for name in ("equal", "half", "another"):
        pixels = np.zeros((4, 8), np.uint8)
        pixels[:, 4:] = 255
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        cases.append(Case(name, tmp_path / f"{name}.png"))
    calls: list[int] = []

    def candidate(pixels: NDArray[np.uint8]) -> Segmentation:
        mask, probability = segment(pixels)
        calls.append(len(calls))
        if len(calls) == 2:
            mask[:, 4:6] = False  # half of the lesion is missed: Dice 2 * 8 / (16 + 8)
        return mask, probability

    def plain(pixels: NDArray[np.uint8]) -> Any:
        mask, probability = segment(pixels)
        return SimpleNamespace(mask=mask, probability=probability)

    reference = cast(Predictor, SimpleNamespace(channels=1, predict=plain))
    parity = compare(reference, {"it": candidate}, cases).parity["it"]
    assert parity.least_agreement == pytest.approx(2 / 3)
    assert parity.agreement == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert (parity.images, parity.flipped_pixels, parity.pixels) == (3, 8, 96)
