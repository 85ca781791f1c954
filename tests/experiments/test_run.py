"""run_fold: from a data set on disk to scores, resumable, honest about what it was made with."""

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
from taichinet.datasets.folds import FoldPlan, make_folds
from taichinet.datasets.image_io import united_mask
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
from taichinet.experiments.run import OnEpoch, run_fold
from taichinet.experiments.scoring import score_images
from taichinet.experiments.study_data import StudyData
from taichinet.models.weights import load_weights
from taichinet.training.device import choose_device_config
from taichinet.training.fit import TrainingData, fit
from taichinet.training.loop import predict_batches

UNET = vary(TINY, {"model": "unet", "training.strategy": "plain"})


class PowerCutError(Exception):
    """Stands for the end of the process."""


class Study:
    """A fake BUSI, prepared and split, with a folder to run in."""

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


def cut_after(epoch: int, phase: str = "train") -> Callable[..., None]:
    def hear(heard: str, row: dict[str, Any], epochs: int) -> None:
        if (heard, row["epoch"]) == (phase, epoch):
            raise PowerCutError

    return hear


# -------------------------------------------------------------------------------------------- the run folder


def test_a_finished_folder_holds_what_is_promised_and_no_checkpoint(finished: FoldResult) -> None:
    files = {str(file.relative_to(finished.folder)) for file in finished.folder.rglob("*") if file.is_file()}
    promised = {
        "experiment.yaml",
        "history.csv",
        "weights/model.safetensors",
        "weights/config.json",
        "scores.csv",
        "seen.safetensors",
        "result.json",
    }
    assert promised <= files
    assert files - promised <= {"seconds"}


def test_the_result_says_what_was_run_on_what_and_how_it_was_chosen(finished: FoldResult, study: Study) -> None:
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


def test_the_result_is_strict_json_without_nan(finished: FoldResult) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((finished.folder / "result.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_the_settings_written_are_the_settings_run(finished: FoldResult) -> None:
    raw = yaml.safe_load((finished.folder / "experiment.yaml").read_text(encoding="utf-8"))
    assert Experiment.model_validate(raw) == TINY


def test_the_history_has_a_row_an_epoch(finished: FoldResult) -> None:
    history = pd.read_csv(finished.folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    assert list(history["step"]) == ["easy", "hard", "hard"]
    assert np.isfinite(history["loss"]).all()


def test_each_test_image_is_scored_once_and_nothing_else(finished: FoldResult, study: Study) -> None:
    split = study.plan.split(0, study.manifest.labels, 0.5)
    assert tuple(finished.scores["key"]) == split.test
    assert set(COLUMNS) <= set(finished.scores.columns)
    assert set(finished.scores["fold"]) == {0}
    assert dict(zip(finished.scores["key"], finished.scores["label"], strict=True)) == {
        key: study.manifest.labels[key] for key in split.test
    }
    pd.testing.assert_frame_equal(pd.read_csv(finished.folder / "scores.csv"), finished.scores)


def test_the_weights_know_their_provenance_and_give_the_scores_again(finished: FoldResult, study: Study) -> None:
    loaded = load_weights(finished.folder / "weights")
    split = study.plan.split(0, study.manifest.labels, 0.5)
    provenance = loaded.config.provenance
    assert loaded.config.size == 32
    assert (provenance["protocol"], provenance["fold"]) == ("grouped", 0)
    assert not set(split.test) & {*provenance["train_keys"], *provenance["validation_keys"]}
    again = score_images(loaded.network, study.manifest, study.data.subset(split.test), 0, FLOAT32_CPU).rows
    pd.testing.assert_frame_equal(again, finished.scores)


def test_no_held_out_image_was_mined(finished: FoldResult, study: Study) -> None:
    split = study.plan.split(0, study.manifest.labels, 0.5)
    assert finished.record.mining is not None
    folder = study.cache / finished.record.mining.identity
    mined = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["keys"]
    assert tuple(mined) == split.train


def test_training_and_selection_get_their_own_images_and_never_the_test_images(
    finished: FoldResult, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with other test images the same epoch of the same weights is selected."""
    split = study.plan.split(0, study.manifest.labels, 0.5)
    tested = torch.tensor([key in split.test for key in study.data.keys])
    image, lesion = study.data.image.clone(), study.data.lesion.clone()
    image[tested], lesion[tested] = 0, lesion[tested].flip(-1)
    given: list[TrainingData] = []

    def spy(network: Any, data: TrainingData, *more: Any) -> Any:
        given.append(data)
        return fit(network, data, *more)

    monkeypatch.setattr(run_module, "fit", spy)
    data = replace(study.data, image=image, lesion=lesion)
    done = study.run_on(StudyData(study.manifest, data, study.plan), tmp_path)
    assert [data.train.keys for data in given] == [split.train]
    assert [data.validation.keys for data in given] == [split.validation]
    assert given[0].regions is not None
    assert given[0].regions.keys == split.train
    one, other = (load_weights(run.folder / "weights").network for run in (done, finished))
    assert same_weights(one, other)
    assert done.record.selection == finished.record.selection
    assert done.record.mining == finished.record.mining


def test_a_plain_run_mines_nothing(study: Study, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    cache = study.cache
    study.cache = tmp_path / "no cache"
    try:
        done = study.run(
            tmp_path / "run",
            UNET,
            on_epoch=lambda phase, row, epochs: heard.append((phase, row["epoch"], epochs)),
        )
    finally:
        study.cache = cache
    assert heard == [("train", 1, 3), ("train", 2, 3), ("train", 3, 3)]
    assert done.record.mining is None
    assert not (tmp_path / "no cache").exists()
    assert not {"second_path_dice", "mean_dice"} & set(done.scores.columns)


def test_without_validation_images_the_last_epoch_is_kept_and_said(study: Study, tmp_path: Path) -> None:
    done = study.run(tmp_path, vary(UNET, {"data.validation_share": 0, "training.epochs": 1}))
    assert done.record.images.validation == 0
    assert done.record.selection.epoch == 1
    assert done.record.selection.validation_dice is None


# ---------------------------------------------------------------------------------- going on, beginning anew


def test_a_finished_fold_is_read_back_without_training(finished: FoldResult, study: Study) -> None:
    heard: list[Any] = []
    before = {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")}
    again = study.run(finished.folder, resume=True, on_epoch=lambda *row: heard.append(row))
    assert heard == []
    assert again.record == finished.record
    pd.testing.assert_frame_equal(again.scores, finished.scores)
    assert {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")} == before


def test_another_name_for_the_same_settings_is_the_same_run(finished: FoldResult, study: Study) -> None:
    assert study.run(finished.folder, vary(TINY, {"name": "renamed"}), resume=True).record == finished.record


@pytest.mark.parametrize(
    "change", [{"training.seed": 1}, {"options.head": "none"}, {"objective.complementary": False}], ids=str
)
def test_a_finished_fold_of_other_settings_is_refused_with_both_ways_out(
    finished: FoldResult, study: Study, change: dict[str, Any]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")}
    with pytest.raises(FoldError, match=r"other settings, images or folds.*--out.*--overwrite"):
        study.run(finished.folder, vary(TINY, change), resume=True)
    assert {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")} == before


def test_a_finished_fold_of_another_fold_is_refused(finished: FoldResult, study: Study) -> None:
    with pytest.raises(FoldError, match="other settings, images or folds"):
        study.run(finished.folder, fold=1, resume=True)


def test_a_finished_fold_of_repainted_masks_is_refused(finished: FoldResult, study: Study, tmp_path: Path) -> None:
    """Mending a mask changes the truth that was trained on and scored against."""
    folder = make_fake_busi(tmp_path, benign=5, malignant=4, normal=4)
    mask = folder / "benign" / "benign (3)_mask.png"
    Image.open(mask).convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mask)
    manifest = DATASET.read(folder)
    data = prepare(manifest, 32, 1)
    assert not torch.equal(data.lesion, study.data.lesion)
    plan = make_folds(manifest, study.plan.groups, count=2)
    with pytest.raises(FoldError):
        study.run_on(StudyData(manifest, data, plan), finished.folder, resume=True)


def test_an_interrupted_fold_goes_on_and_ends_with_the_same_weights_and_scores(
    finished: FoldResult, study: Study, tmp_path: Path
) -> None:
    with pytest.raises(PowerCutError):
        study.run(tmp_path, on_epoch=cut_after(2))
    assert (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "result.json").exists()
    heard: list[tuple[str, int]] = []
    done = study.run(tmp_path, resume=True, on_epoch=lambda phase, row, epochs: heard.append((phase, row["epoch"])))
    assert heard == [("train", 3)]
    assert same_weights(load_weights(tmp_path / "weights").network, load_weights(finished.folder / "weights").network)
    pd.testing.assert_frame_equal(done.scores, finished.scores)
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2, 3]
    assert not (tmp_path / "checkpoint.pt").exists()


def test_an_interrupted_fold_of_other_settings_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        study.run(tmp_path, UNET, on_epoch=cut_after(1))
    with pytest.raises(WeightsError, match="other settings or other training images"):
        study.run(tmp_path, vary(UNET, {"training.seed": 5}), resume=True)


def test_a_refused_resume_leaves_the_folder_as_it_was(study: Study, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        study.run(tmp_path, UNET, on_epoch=cut_after(1))
    before = (tmp_path / "experiment.yaml").read_bytes()
    with pytest.raises(WeightsError):
        study.run(tmp_path, vary(UNET, {"training.seed": 5}), resume=True)
    assert (tmp_path / "experiment.yaml").read_bytes() == before


def test_without_resume_the_folder_begins_anew(study: Study, tmp_path: Path) -> None:
    one_epoch = vary(UNET, {"training.epochs": 1})
    study.run(tmp_path, one_epoch)
    with pytest.raises(PowerCutError):
        study.run(tmp_path, UNET, on_epoch=cut_after(1))
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "scores.csv").exists()
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1]


def test_a_run_removes_the_temporary_files_of_a_killed_one(study: Study, tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.pt.0123abcd.tmp").write_bytes(b"half")
    study.run(tmp_path, vary(UNET, {"training.epochs": 1}))
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_run_begun_anew_does_not_keep_the_weights_of_the_one_before(study: Study, tmp_path: Path) -> None:
    study.run(tmp_path, vary(UNET, {"training.epochs": 1}))
    with pytest.raises(PowerCutError):
        study.run(tmp_path, UNET, on_epoch=cut_after(1))
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("file", ["result.json", "scores.csv"])
def test_a_torn_finished_fold_is_refused(finished: FoldResult, tmp_path: Path, file: str) -> None:
    for name in ("result.json", "scores.csv"):
        content = (finished.folder / name).read_bytes()
        (tmp_path / name).write_bytes(b"" if name == file else content)
    with pytest.raises(FoldError, match=r"cannot be read .*Delete the folder"):
        read_fold(tmp_path)


def test_the_identity_is_of_settings_pictures_and_split_but_not_of_the_name(study: Study) -> None:
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
    """Answers with the given masks in turn, certain of them; its second path sees no lesion anywhere."""

    def __init__(self, lesion: torch.Tensor) -> None:
        super().__init__()
        self.lesion = lesion.float()
        self.position = 0

    def forward(self, image: torch.Tensor) -> Prediction:
        answer = self.lesion[self.position : self.position + len(image)]
        self.position += len(image)
        return Prediction(positive=20 * (2 * answer - 1), negative=torch.full_like(answer, 20.0))


def test_scores_compare_at_network_size_and_with_the_mask_as_drawn(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = study.data
    monkeypatch.setattr(scoring, "BATCH_SIZE", 4)
    frame = score_images(Oracle(data.lesion), study.manifest, data, 3, FLOAT32_CPU).rows.set_index("key")
    assert list(frame.index) == list(data.keys)
    for row, sample in enumerate(study.manifest.samples):
        scores = frame.to_dict("index")[sample.key]
        truth = united_mask(sample)
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
        # Resized bilinearly and cut at one half, written with Pillow instead.
        small = Image.fromarray(data.lesion[row, 0].numpy().astype(np.float32))
        large = np.asarray(small.resize(truth.shape[::-1], Image.Resampling.BILINEAR)) > 0.5
        expected = 2 * (large & truth).sum() / (large.sum() + truth.sum())
        assert scores["dice_native"] == pytest.approx(expected, abs=0.02)
        assert 0.8 < scores["dice_native"] < 1
        assert scores["second_path_dice"] == 0  # it says "background" everywhere


def test_the_inference_time_is_the_networks_alone_and_not_misled_by_a_slow_start(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only the network moves: 8 s for the first batch of four, 2 s for every other one."""
    now = 0.0

    def slow(network: Any, batches: list[Any], device_config: Any) -> list[Prediction]:
        nonlocal now
        now += 2.0 if now else 8.0
        return predict_batches(network, batches, device_config)

    monkeypatch.setattr(scoring, "predict_batches", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    twelve = study.data.subset(study.data.keys[:12])
    monkeypatch.setattr(scoring, "BATCH_SIZE", 4)
    scored = score_images(Oracle(twelve.lesion), study.manifest, twelve, 0, FLOAT32_CPU)
    assert scored.inference_seconds_per_image == 2 / 4


def test_the_mean_of_two_contradicting_paths_is_no_lesion(study: Study) -> None:
    frame = score_images(Oracle(study.data.lesion), study.manifest, study.data, 0, FLOAT32_CPU).rows
    lesions = frame[frame["label"] != "normal"]
    assert (lesions["mean_dice"] == 0).all()
    assert (lesions["positive_dice"] == 1).all()
