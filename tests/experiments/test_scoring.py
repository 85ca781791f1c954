"""score_images uses the given threshold at network and original size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import FLOAT32_CPU
from torch import nn

from taichinet.batch import Prediction
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.evaluation.decision import Decision
from taichinet.evaluation.detection import DETECTION_COLUMNS
from taichinet.experiments.scoring import score_images


class Constant(nn.Module):
    """The same lesion probability everywhere."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor(probability)), requires_grad=False)

    def forward(self, image: torch.Tensor) -> Prediction:
        return Prediction(positive=self.logit.expand_as(image))


@pytest.mark.parametrize(("threshold", "share"), [(0.6, 1), (0.8, 0)])
def test_both_sizes_use_the_given_threshold(tmp_path: Path, threshold: float, share: int) -> None:
    manifest = DATASET.read(write_phantom_busi(tmp_path / "phantoms", 2, 2, 1, seed=1, size=(64, 80)))
    data = prepare(manifest, 32, 1)
    rows = score_images(Constant(0.7), manifest, data, 0, FLOAT32_CPU, Decision(threshold=threshold)).rows
    assert rows["predicted_pixels"].tolist() == [share * 32 * 32] * 5
    assert rows["predicted_pixels_native"].tolist() == [share * 64 * 80] * 5


def test_detection_and_surface_dice_are_the_last_columns(tmp_path: Path) -> None:
    manifest = DATASET.read(write_phantom_busi(tmp_path / "phantoms", 2, 2, 1, seed=1, size=(64, 80)))
    rows = score_images(Constant(0.7), manifest, prepare(manifest, 32, 1), 0, FLOAT32_CPU).rows
    assert tuple(rows.columns[-6:]) == (*DETECTION_COLUMNS, "nsd_native")
    normal = rows[rows["label"] == "normal"].iloc[0]
    assert (normal["lesions"], normal["false_components"], normal["found_scores"]) == (0, 1, "[]")
    assert float(normal["false_scores"].strip("[]")) == pytest.approx(0.7)
    assert (rows[rows["label"] != "normal"]["lesions"] > 0).all()
    assert normal["nsd_native"] == 0
