"""run_fold: from a data set on disk to scores, with resuming and a complete record of the run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fakes.busi import make_fake_busi
from helpers import FLOAT32_CPU, TINY, same_weights
from PIL import Image

from taichinet.batch import Prediction
from taichinet.datasets.decoded import united_mask
from taichinet.datasets.folds import FoldPlan, make_folds
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError, WeightsError
from taichinet.evaluation.aggregate import COLUMNS
from taichinet.experiments import run as run_module
from taichinet.experiments import scoring
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.identity import run_identity
from taichinet.experiments.records import FoldResult, read_fold
from taichinet.experiments.run import run_fold
from taichinet.experiments.scoring import score_images
from taichinet.experiments.study_data import StudyData
from taichinet.experiments.training_run import HISTORY_FILE, OnEpoch, Start, _record_epoch
from taichinet.models.weights import load_weights
from taichinet.training.device import choose_device_config
from taichinet.training.fit import TrainingData, fit
from taichinet.training.loop import network_outputs

UNET = vary(TINY, {"model": "unet", "training.strategy": "plain"})


class SimulatedCrashError(Exception):
    """Simulates the end of the process."""


class Study:
    """A fake BUSI, prepared and split, with a mining cache."""

    def __init__(self, root: Path) -> None:
        self.manifest: Manifest = DATASET.read(make_fake_busi(root / "data", benign=5, malignant=4, normal=4))
        self.data: Prepared = prepare(self.manifest, 32, 1)
        self.plan: FoldPlan = make_folds(self.manifest, (("benign (1)", "benign (2)"),), count=2)
        self.cache = root / "mined"

    def run(self, folder: Path, experiment: Experiment = TINY, fold: int = 0, **more: Any) -> FoldResult:
        return self.run_on(StudyData(self.manifest, self.data, self.plan), folder, experiment, fold, **more)

    def run_on(
        self,
        data: StudyData,
        folder: Path,
        experiment: Experiment = TINY,
        fold: int = 0,
        on_epoch: OnEpoch = lambda phase, row, epochs: None,
        **more: Any,
    ) -> FoldResult:
        return run_fold(FoldJob(experiment, data, fold, folder, self.cache, **more), on_epoch)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> FoldResult:
    return study.run(tmp_path_factory.mktemp("runs") / "fold-0")


def crash_after(epoch: int, phase: str = "train") -> Callable[..., None]:
    def on_epoch(current_phase: str, row: dict[str, Any], epochs: int) -> None:
        if (current_phase, row["epoch"]) == (phase, epoch):
            raise SimulatedCrashError

    return on_epoch


# -------------------------------------------------------------------------------------------- the run folder


def test_finished_folder_has_documented_files_and_no_checkpoint(finished: FoldResult) -> None:
    files = {str(file.relative_to(finished.folder)) for file in finished.folder.rglob("*") if file.is_file()}
    promised = {
        "experiment.yaml",
        "history.csv",
        "weights/model.safetensors",
        "weights/config.json",
        "weights/training_images.json",
        "scores.csv",
        "seen.safetensors",
        "result.json",
    }
    assert promised <= files
    assert files - promised <= {"seconds"}


def test_result_records_experiment_data_and_selection(finished: FoldResult, study: Study) -> None:
    split = study.plan.split(0, study.manifest.labels, 0.5)
    written = json.loads((finished.folder / "result.json").read_text(encoding="utf-8"))
    assert written == finished.record.to_json_dict()
    assert written["experiment"] == TINY.model_dump(mode="json")
    assert (written["dataset"], written["dataset_digest"]) == ("busi", study.manifest.digest())
    assert (written["protocol"], written["fold"], written["folds"], written["fold_seed"]) == (
        "grouped",
        0,
        2,
        0,
    )
    assert written["images"] == {
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
    }
    selection = written["selection"]
    history = pd.read_csv(finished.folder / "history.csv")
    assert selection["rule"] == "best-validation-dice"
    best = history.iloc[history["validation_dice"].argmax()]
    assert (selection["epoch"], selection["validation_dice"]) == (
        best["epoch"],
        pytest.approx(best["validation_dice"]),
    )
    assert written["placement"] == choose_device_config("float32").describe()
    assert 0 < written["inference_seconds_per_image"] < written["wall_seconds"]
    assert written["machine"]["torch"] == torch.__version__
    assert set(written["mining"]) >= {"identity", "images_without_easy_part", "images_without_hard_part"}
    network = load_weights(finished.folder / "weights").network
    assert written["parameters"] == sum(weight.numel() for weight in network.parameters())


def test_history_of_an_earlier_version_is_continued_without_rounding(tmp_path: Path) -> None:
    (tmp_path / HISTORY_FILE).write_text("epoch,step,loss,seconds\n1,plain,0.12345678901234567,2\n2,plain,0.1,2\n")
    row = {"epoch": 2, "step": "plain", "loss": 0.1, "learning_rate": 1e-4, "seconds": 1.5}
    _record_epoch(tmp_path, row, Start(0.0, None, 0.0))
    lines = (tmp_path / HISTORY_FILE).read_text().splitlines()
    assert lines == [
        "epoch,step,loss,learning_rate,seconds",
        "1,plain,0.12345678901234567,,2",
        "2,plain,0.1,0.0001,1.5",
    ]


def test_result_is_strict_json_without_nan(finished: FoldResult) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((finished.folder / "result.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_written_settings_equal_experiment(finished: FoldResult) -> None:
    raw = yaml.safe_load((finished.folder / "experiment.yaml").read_text(encoding="utf-8"))
    assert Experiment.model_validate(raw) == TINY


def test_history_has_one_row_per_epoch(finished: FoldResult) -> None:
    history = pd.read_csv(finished.folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    assert list(history["step"]) == ["easy", "hard", "hard"]
    assert np.isfinite(history["loss"]).all()


def test_exactly_the_test_images_are_scored_once(finished: FoldResult, study: Study) -> None:
    split = study.plan.split(0, study.manifest.labels, 0.5)
    assert tuple(finished.scores["key"]) == split.test
    assert set(COLUMNS) <= set(finished.scores.columns)
    assert set(finished.scores["fold"]) == {0}
    assert dict(zip(finished.scores["key"], finished.scores["label"], strict=True)) == {
        key: study.manifest.labels[key] for key in split.test
    }
    pd.testing.assert_frame_equal(pd.read_csv(finished.folder / "scores.csv"), finished.scores)


def test_weights_record_provenance_and_reproduce_scores(finished: FoldResult, study: Study) -> None:
    loaded = load_weights(finished.folder / "weights")
    split = study.plan.split(0, study.manifest.labels, 0.5)
    provenance = loaded.config.provenance
    assert loaded.config.size == 32
    assert (provenance["protocol"], provenance["fold"]) == ("grouped", 0)
    assert not set(split.test) & {*provenance["train_keys"], *provenance["validation_keys"]}
    again = score_images(loaded.network, study.manifest, study.data.subset(split.test), 0, FLOAT32_CPU).rows
    pd.testing.assert_frame_equal(again, finished.scores)


def test_only_training_images_are_mined(finished: FoldResult, study: Study) -> None:
    split = study.plan.split(0, study.manifest.labels, 0.5)
    assert finished.record.mining is not None
    folder = study.cache / finished.record.mining.identity
    mined = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["keys"]
    assert tuple(mined) == split.train


def test_training_and_selection_do_not_use_test_images(
    finished: FoldResult, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With different test images, the same weights of the same epoch are selected."""
    split = study.plan.split(0, study.manifest.labels, 0.5)
    tested = torch.tensor([key in split.test for key in study.data.keys])
    image, lesion = study.data.image.clone(), study.data.lesion.clone()
    image[tested], lesion[tested] = 0, lesion[tested].flip(-1)
    received: list[TrainingData] = []

    def spy(network: Any, data: TrainingData, *more: Any) -> Any:
        received.append(data)
        return fit(network, data, *more)

    monkeypatch.setattr(run_module, "fit", spy)
    data = replace(study.data, image=image, lesion=lesion)
    result = study.run_on(StudyData(study.manifest, data, study.plan), tmp_path)
    assert [data.train.keys for data in received] == [split.train]
    assert [data.validation.keys for data in received] == [split.validation]
    assert received[0].regions is not None
    assert received[0].regions.keys == split.train
    weights, expected_weights = (load_weights(run.folder / "weights").network for run in (result, finished))
    assert same_weights(weights, expected_weights)
    assert result.record.selection == finished.record.selection
    assert result.record.mining == finished.record.mining


def test_plain_run_does_not_mine_regions(study: Study, tmp_path: Path) -> None:
    reported: list[tuple[str, int, int]] = []
    cache = study.cache
    study.cache = tmp_path / "no cache"
    try:
        result = study.run(
            tmp_path / "run",
            UNET,
            on_epoch=lambda phase, row, epochs: reported.append((phase, row["epoch"], epochs)),
        )
    finally:
        study.cache = cache
    assert reported == [("train", 1, 3), ("train", 2, 3), ("train", 3, 3)]
    assert result.record.mining is None
    assert not (tmp_path / "no cache").exists()
    assert not {"second_path_dice", "mean_dice"} & set(result.scores.columns)


def test_last_epoch_is_selected_without_validation_images(study: Study, tmp_path: Path) -> None:
    result = study.run(tmp_path, vary(UNET, {"data.validation_share": 0, "training.epochs": 1}))
    assert result.record.images.validation == 0
    assert result.record.selection.epoch == 1
    assert result.record.selection.validation_dice is None


# ------------------------------------------------------------------------------------ resuming and restarting


def test_finished_fold_is_read_without_training(finished: FoldResult, study: Study) -> None:
    reported: list[Any] = []
    before = {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")}
    again = study.run(finished.folder, resume=True, on_epoch=lambda *row: reported.append(row))
    assert reported == []
    assert again.record == finished.record
    pd.testing.assert_frame_equal(again.scores, finished.scores)
    assert {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")} == before


def test_renamed_experiment_is_the_same_run(finished: FoldResult, study: Study) -> None:
    assert study.run(finished.folder, vary(TINY, {"name": "renamed"}), resume=True).record == finished.record


@pytest.mark.parametrize(
    "change", [{"training.seed": 1}, {"options.head": "none"}, {"objective.complementary": False}], ids=str
)
def test_finished_fold_with_other_settings_is_rejected_with_two_remedies(
    finished: FoldResult, study: Study, change: dict[str, Any]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")}
    with pytest.raises(FoldError, match=r"other settings, images or folds.*--output.*--overwrite"):
        study.run(finished.folder, vary(TINY, change), resume=True)
    assert {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")} == before


def test_finished_fold_with_other_number_is_rejected(finished: FoldResult, study: Study) -> None:
    with pytest.raises(FoldError, match="other settings, images or folds"):
        study.run(finished.folder, fold=1, resume=True)


def test_finished_fold_with_changed_masks_is_rejected(finished: FoldResult, study: Study, tmp_path: Path) -> None:
    """A corrected mask changes the ground truth for training and scoring."""
    folder = make_fake_busi(tmp_path, benign=5, malignant=4, normal=4)
    mask = folder / "benign" / "benign (3)_mask.png"
    Image.open(mask).convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mask)
    manifest = DATASET.read(folder)
    data = prepare(manifest, 32, 1)
    assert not torch.equal(data.lesion, study.data.lesion)
    plan = make_folds(manifest, study.plan.groups, count=2)
    with pytest.raises(FoldError):
        study.run_on(StudyData(manifest, data, plan), finished.folder, resume=True)


def test_resumed_fold_has_same_weights_and_scores(finished: FoldResult, study: Study, tmp_path: Path) -> None:
    with pytest.raises(SimulatedCrashError):
        study.run(tmp_path, on_epoch=crash_after(2))
    assert (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "result.json").exists()
    reported: list[tuple[str, int]] = []
    result = study.run(
        tmp_path, resume=True, on_epoch=lambda phase, row, epochs: reported.append((phase, row["epoch"]))
    )
    assert reported == [("train", 3)]
    assert same_weights(load_weights(tmp_path / "weights").network, load_weights(finished.folder / "weights").network)
    pd.testing.assert_frame_equal(result.scores, finished.scores)
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2, 3]
    assert not (tmp_path / "checkpoint.pt").exists()


def test_interrupted_fold_with_other_settings_is_rejected(study: Study, tmp_path: Path) -> None:
    with pytest.raises(SimulatedCrashError):
        study.run(tmp_path, UNET, on_epoch=crash_after(1))
    with pytest.raises(WeightsError, match="other settings or other training images"):
        study.run(tmp_path, vary(UNET, {"training.seed": 5}), resume=True)


def test_rejected_resume_does_not_change_settings_file(study: Study, tmp_path: Path) -> None:
    with pytest.raises(SimulatedCrashError):
        study.run(tmp_path, UNET, on_epoch=crash_after(1))
    before = (tmp_path / "experiment.yaml").read_bytes()
    with pytest.raises(WeightsError):
        study.run(tmp_path, vary(UNET, {"training.seed": 5}), resume=True)
    assert (tmp_path / "experiment.yaml").read_bytes() == before


def test_folder_is_cleared_without_resume(study: Study, tmp_path: Path) -> None:
    one_epoch = vary(UNET, {"training.epochs": 1})
    study.run(tmp_path, one_epoch)
    with pytest.raises(SimulatedCrashError):
        study.run(tmp_path, UNET, on_epoch=crash_after(1))
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "scores.csv").exists()
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1]


def test_run_removes_temporary_files_of_killed_run(study: Study, tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.pt.0123abcd.tmp").write_bytes(b"half")
    study.run(tmp_path, vary(UNET, {"training.epochs": 1}))
    assert not list(tmp_path.glob(".*.tmp"))


def test_restarted_run_removes_earlier_weights(study: Study, tmp_path: Path) -> None:
    study.run(tmp_path, vary(UNET, {"training.epochs": 1}))
    with pytest.raises(SimulatedCrashError):
        study.run(tmp_path, UNET, on_epoch=crash_after(1))
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("file", ["result.json", "scores.csv"])
def test_empty_result_or_scores_file_is_rejected(finished: FoldResult, tmp_path: Path, file: str) -> None:
    for name in ("result.json", "scores.csv"):
        content = (finished.folder / name).read_bytes()
        (tmp_path / name).write_bytes(b"" if name == file else content)
    with pytest.raises(FoldError, match=r"cannot be read .*Delete the folder"):
        read_fold(tmp_path)


def test_identity_depends_on_settings_images_and_split_but_not_name(study: Study) -> None:
    split = study.plan.split(0, study.manifest.labels, 0.5)
    data, plan = study.data, study.plan
    identity = run_identity(TINY, data, split, plan, bf16=False)
    assert run_identity(vary(TINY, {"name": "other"}), data, split, plan, bf16=False) == identity
    others = [
        run_identity(vary(TINY, {"training.learning_rate": 0.5}), data, split, plan, bf16=False),
        run_identity(vary(TINY, {"data.augmentation.probability": 0.4}), data, split, plan, bf16=False),
        run_identity(TINY, data, plan.split(1, study.manifest.labels, 0.5), plan, bf16=False),
        run_identity(TINY, data, split, replace(plan, digest="other pixels"), bf16=False),
        run_identity(TINY, data, split, replace(plan, protocol="paper"), bf16=False),
        run_identity(TINY, replace(data, lesion=1 - data.lesion), split, plan, bf16=False),
        run_identity(TINY, data, split, plan, bf16=True),
    ]
    assert len({identity, *others}) == 8


# ------------------------------------------------------------------------------------------------- scoring


class Oracle(torch.nn.Module):
    """Predicts the given masks in order with high confidence; its second path predicts no lesion anywhere."""

    def __init__(self, lesion: torch.Tensor) -> None:
        super().__init__()
        self.lesion = lesion.float()
        self.position = 0

    def forward(self, image: torch.Tensor) -> Prediction:
        lesion = self.lesion[self.position : self.position + len(image)]
        self.position += len(image)
        return Prediction(positive=20 * (2 * lesion - 1), negative=torch.full_like(lesion, 20.0))


def test_scores_are_computed_at_network_and_original_size(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    data = study.data
    monkeypatch.setattr(scoring, "BATCH_SIZE", 4)
    frame = score_images(Oracle(data.lesion), study.manifest, data, 3, FLOAT32_CPU).rows.set_index("key")
    assert list(frame.index) == list(data.keys)
    for row, sample in enumerate(study.manifest.samples):
        scores = frame.to_dict("index")[sample.key]
        true_mask = united_mask(sample)
        inside = int(data.lesion[row].sum())
        assert (scores["predicted_pixels"], scores["true_pixels"], scores["pixels"]) == (
            inside,
            inside,
            32 * 32,
        )
        if sample.label == "normal":
            assert math.isnan(scores["dice"])
            continue
        assert scores["dice"] == scores["jaccard"] == scores["positive_dice"] == 1
        # Reference with Pillow: bilinear resizing and a threshold of one half.
        small = Image.fromarray(data.lesion[row, 0].numpy().astype(np.float32))
        large = np.asarray(small.resize(true_mask.shape[::-1], Image.Resampling.BILINEAR)) > 0.5
        expected = 2 * (large & true_mask).sum() / (large.sum() + true_mask.sum())
        assert scores["dice_native"] == pytest.approx(expected, abs=0.02)
        assert 0.8 < scores["dice_native"] < 1
        assert scores["second_path_dice"] == 0  # it predicts background everywhere


def test_inference_time_is_of_network_only_and_ignores_slow_first_batch(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock only advances in the network: 8 s for the first batch of four images, 2 s for every other batch."""
    now = 0.0

    def slow(network: Any, batches: list[Any], device_config: Any) -> Any:
        nonlocal now
        now += 2.0 if now else 8.0
        return network_outputs(network, batches, device_config)

    monkeypatch.setattr(scoring, "network_outputs", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    twelve = study.data.subset(study.data.keys[:12])
    monkeypatch.setattr(scoring, "BATCH_SIZE", 4)
    scored = score_images(Oracle(twelve.lesion), study.manifest, twelve, 0, FLOAT32_CPU)
    assert scored.inference_seconds_per_image == 2 / 4


def test_mean_of_contradicting_paths_has_no_lesion(study: Study) -> None:
    frame = score_images(Oracle(study.data.lesion), study.manifest, study.data, 0, FLOAT32_CPU).rows
    lesions = frame[frame["label"] != "normal"]
    assert (lesions["mean_dice"] == 0).all()
    assert (lesions["positive_dice"] == 1).all()
