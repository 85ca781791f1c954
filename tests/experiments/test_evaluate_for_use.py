"""`evaluate` of a network that was trained on all images, whose provenance has no fold."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.busi import make_fake_busi
from fakes.study_for_use import write_all_images

from taichinet.datasets.examples import write_examples
from taichinet.errors import FoldError
from taichinet.experiments.evaluate import evaluate_weights
from taichinet.inference.shipped import shipped_weights


def test_network_without_fold_is_scored_on_other_images(tmp_path: Path) -> None:
    folder = make_fake_busi(tmp_path / "busi", benign=2, malignant=1, normal=1)
    evaluation = evaluate_weights(write_all_images(tmp_path / "study"), folder)
    assert set(evaluation.scores["fold"]) == {0}


def test_packaged_network_refuses_the_images_of_its_training_by_name(tmp_path: Path) -> None:
    write_examples(tmp_path / "examples")
    with pytest.raises(FoldError, match=r"of clinic were used in the training of best-lite\. .* Give other images"):
        evaluate_weights(shipped_weights(), f"clinic={tmp_path / 'examples'}")
