"""Mined regions from validation or test images are rejected before training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from helpers import FLOAT32_CPU

from taichinet.datasets.folds import Split
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError
from taichinet.experiments import training_run
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.recipes.catalogue import get_recipe


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_regions_mined_from_held_out_image_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_out: str
) -> None:
    data = prepare(DATASET.read(write_phantom_busi(tmp_path / "phantoms", 2, 2, 1, seed=1, size=(64, 80))), 32, 1)
    split = Split(train=data.keys[:3], validation=data.keys[3:4], test=data.keys[4:])
    leaked = SimpleNamespace(provenance=SimpleNamespace(keys=(*split.train, *getattr(split, held_out))))
    job = SimpleNamespace(
        experiment=get_recipe("cpu-taichinet"), split=split, device_config=FLOAT32_CPU, mining_cache=tmp_path
    )
    monkeypatch.setattr(training_run, "mine_regions", lambda *_: leaked)
    with pytest.raises(FoldError, match="1 held-out images"):
        training_run._mine(cast(FoldJob, job), data.subset(split.train), lambda *_: None)
