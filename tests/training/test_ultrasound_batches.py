"""Training with augmentation for ultrasound: batches, waiting for the device, settings, identities of runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import FLOAT32_CPU, TINY, discs, halves, tiny_data, tiny_settings

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.datasets.folds import FoldPlan, Split
from taichinet.errors import SettingError
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.identity import computation_key, run_identity
from taichinet.reports.paper_tables.differences import differences_from_paper
from taichinet.training.easy_hard import MiningSettings, _provenance
from taichinet.training.fit import TrainingData, epoch_batches
from training.test_device_copies import META, CopiesToHost

KIND = "data.augmentation.kind"
ULTRASOUND = vary(TINY, {KIND: "ultrasound"})
GAIN = "data.augmentation.ultrasound.gain"


def always() -> AugmentationSettings:
    """Every transformation on every image."""
    settings = ULTRASOUND.data.augmentation.model_dump()
    for effect in settings["ultrasound"].values():
        effect["probability"] = 1.0
    return AugmentationSettings.model_validate(settings)


def batches(epoch: int) -> list[Batch]:
    data = replace(tiny_data(), augmentation=ULTRASOUND.data.augmentation)
    return list(epoch_batches(data, tiny_settings(), epoch))


def test_batches_are_determined_by_seed_and_epoch() -> None:
    first, repeated, other = batches(2), batches(2), batches(3)
    assert all(torch.equal(one.image, two.image) for one, two in zip(first, repeated, strict=True))
    assert not any(torch.equal(one.image, two.image) for one, two in zip(first, other, strict=True))


def test_the_kind_changes_the_batches_and_the_paper_s_probability_is_not_used() -> None:
    first = batches(0)
    paper = list(epoch_batches(tiny_data(), tiny_settings(), 0))
    assert not any(torch.equal(one.image, two.image) for one, two in zip(first, paper, strict=True))
    settings = ULTRASOUND.data.augmentation.model_copy(update={"probability": 0.0})
    off = list(epoch_batches(replace(tiny_data(), augmentation=settings), tiny_settings(), 0))
    assert all(torch.equal(one.image, two.image) for one, two in zip(first, off, strict=True))


def test_no_transformation_waits_for_the_device() -> None:
    train = discs(9, size=64)
    data = TrainingData(train, train, halves(train), always()).to(META)
    with CopiesToHost() as copies:
        shapes = [batch.image.shape for batch in epoch_batches(data, tiny_settings(), 0)]
    assert shapes == [(3, 1, 64, 64)] * 3
    assert copies.count == 0


def test_settings_are_changed_by_dotted_key() -> None:
    changed = vary(ULTRASOUND, {f"{GAIN}.probability": 0, f"{GAIN}.range": [0.9, 1.1]})
    assert changed.data.augmentation.ultrasound.gain.probability == 0
    assert changed.data.augmentation.ultrasound.gain.range == (0.9, 1.1)
    with pytest.raises(SettingError, match=r"ultrasound.gain: range \[-1.0, 1.0\] is not within \[0, 10\]"):
        vary(ULTRASOUND, {f"{GAIN}.range": [-1, 1]})
    with pytest.raises(SettingError, match=r"kind = 'mri'.*'paper' or 'ultrasound'"):
        vary(TINY, {KIND: "mri"})


def identities(experiment: Experiment) -> list[str]:
    """The three digests of settings that are stored: of runs, of grids and of mined regions."""
    data, split = discs(3), Split(("disc (1)",), ("disc (2)",), ("disc (3)",))
    plan = FoldPlan("disc", "digest", "grouped", 0, 2, (), dict.fromkeys(data.keys, 0))
    mined = _provenance(data, MiningSettings(), experiment.data.augmentation, FLOAT32_CPU)
    return [
        run_identity(experiment, data, split, plan, bf16=False),
        computation_key(experiment, "content", split, plan),
        mined.identity(),
    ]


def test_only_settings_of_the_kind_in_use_belong_to_the_identity() -> None:
    paper, ultrasound = identities(TINY), identities(ULTRASOUND)
    assert all(one != other for one, other in zip(paper, ultrasound, strict=True))
    assert identities(vary(TINY, {f"{GAIN}.probability": 0.9})) == paper
    assert identities(vary(ULTRASOUND, {"data.augmentation.gamma": [0.9, 1.1]})) == ultrasound
    changed = identities(vary(ULTRASOUND, {f"{GAIN}.probability": 0.9}))
    assert all(one != other for one, other in zip(changed, ultrasound, strict=True))


def test_settings_of_the_paper_have_the_digest_of_earlier_versions() -> None:
    names = {"probability", "quarter_turns", "max_degrees", "gamma", "stretch"}
    assert set(AugmentationSettings().settings_in_use()) == names


def test_runs_of_earlier_versions_are_read() -> None:
    written = TINY.model_dump(mode="json")
    del written["data"]["augmentation"]["kind"], written["data"]["augmentation"]["ultrasound"]
    assert Experiment.model_validate(written) == TINY


def test_reports_name_the_difference_from_the_paper() -> None:
    assert "augmentation 'ultrasound' (paper: paper)" in differences_from_paper(ULTRASOUND)
    assert not any("augmentation" in text for text in differences_from_paper(TINY))
