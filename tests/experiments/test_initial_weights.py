"""`train --from`: what is loaded, what decides the identity of the run, and weights that have seen test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes.busi import make_fake_busi
from helpers import TINY, same_weights

from taichinet.datasets.duplicates.known_images import SEEN_FILES
from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError, SettingError, WeightsError
from taichinet.experiments.all_images import train_on_all_images
from taichinet.experiments.cross_validate import Callbacks, Study, train_folds
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.identity import recipe_settings
from taichinet.experiments.initial_weights import PROVENANCE, InitialWeights, load_initial
from taichinet.experiments.study_data import StudyData
from taichinet.models.catalogue import create_model
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig

UNET = vary(TINY, {"name": "small", "model": "unet", "training.strategy": "plain", "training.epochs": 1})


def study_of(folder: Path, seed: int) -> StudyData:
    manifest = DATASET.read(make_fake_busi(folder, benign=6, malignant=6, normal=0, seed=seed))
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    return study_of(tmp_path_factory.mktemp("data"), seed=0)


@pytest.fixture(scope="module")
def first(study: StudyData, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Both folds of a recipe, to start from."""
    return train_folds(UNET, study, [0, 1], tmp_path_factory.mktemp("first"))


def start(recipe: Experiment, study: StudyData, path: Path) -> tuple[Experiment, StudyData]:
    initial = InitialWeights.find(path)
    tuned = vary(recipe, {"name": "tuned", "initial_weights": initial.name})
    return tuned, replace(study, initial=initial)


def test_each_fold_starts_from_the_same_fold_of_a_study(first: Study, study: StudyData, tmp_path: Path) -> None:
    # Without a step that changes them, the weights are those of the start.
    tuned, data = start(vary(UNET, {"training.learning_rate": 1e-20}), study, first.folder)
    lines: list[str] = []
    result = train_folds(tuned, data, [0, 1], tmp_path, callbacks=Callbacks(on_note=lines.append))
    tensors = len(create_model("unet", width=2).state_dict())
    assert lines == [f"Starts from busi/small/grouped/fold-*: {tensors} of {tensors} tensors."]
    for fold, source in zip(result.folds, first.folds, strict=True):
        own, origin = (load_weights(run.folder / "weights") for run in (fold, source))
        for (name, weight), (_, expected) in zip(
            own.network.named_parameters(), origin.network.named_parameters(), strict=True
        ):
            assert torch.allclose(weight, expected, atol=1e-6), name
        assert fold.record.initial_weights == own.config.provenance[PROVENANCE]["sha256"] == origin.config.digest
        assert own.config.provenance[PROVENANCE]["recipe"] == "small"
        assert fold.record.identity != source.record.identity
    assert "initial_weights" not in first.folds[0].record.to_json_dict()
    assert recipe_settings(tuned) != recipe_settings(vary(tuned, {"initial_weights": None}))  # not a row of the paper
    again = train_folds(tuned, data, [0, 1], tmp_path, existing="resume")
    assert [fold.record for fold in again.folds] == [fold.record for fold in result.folds]
    with pytest.raises(SettingError, match=r"starts from the weights busi/small/grouped/fold-\*, but none were given"):
        train_folds(tuned, study, [0], tmp_path / "other")


def test_weights_that_have_seen_test_images_are_refused(first: Study, study: StudyData, tmp_path: Path) -> None:
    tuned, data = start(UNET, study, first.folder / "fold-0")
    with pytest.raises(FoldError, match=r"held-out images of this fold were used.*each fold starts from the same fold"):
        train_folds(tuned, data, [0, 1], tmp_path)
    assert not (tmp_path / "busi").exists()  # also fold 0, which has not seen its test images, is not begun
    assert train_folds(tuned, data, [0], tmp_path).folds[0].record.fold == 0
    # The same images under another digest, e.g. as part of joined data sets: compared by their content.
    weights = tmp_path / "weights"
    loaded = load_weights(first.folder / "fold-0" / "weights")
    provenance = loaded.config.provenance | {"dataset_digest": "another"}
    save_weights(loaded.network, replace(loaded.config, provenance=provenance), weights)
    with pytest.raises(FoldError, match="were used in the training"):
        train_folds(*start(UNET, study, weights), [1], tmp_path / "content")
    # Weights without a record: a warning.
    unknown = {key: value for key, value in provenance.items() if not key.startswith("seen")}
    save_weights(loaded.network, replace(loaded.config, provenance=unknown), weights)
    lines: list[str] = []
    train_folds(*start(UNET, study, weights), [1], tmp_path / "unknown", callbacks=Callbacks(on_note=lines.append))
    assert "do not record their training images" in lines[1]


def test_images_of_the_start_count_as_seen(first: Study, study: StudyData, tmp_path: Path) -> None:
    other = study_of(tmp_path / "data", seed=1)
    train_folds(*start(UNET, other, first.folder / "fold-0"), [0], tmp_path)
    weights = tmp_path / "busi/tuned/grouped/fold-0/weights"
    seen, earlier = (
        load_weights(folder).config.provenance[SEEN_FILES] for folder in (weights, first.folder / "fold-0/weights")
    )
    assert set(earlier) < set(seen)
    # Back on the first data set, where test images of fold 1 were training images of the start.
    with pytest.raises(FoldError, match="were used in the training"):
        train_folds(*start(UNET, study, weights), [1], tmp_path / "back")


def test_training_on_all_images_starts_from_one_network(first: Study, study: StudyData, tmp_path: Path) -> None:
    recipe = vary(UNET, {"training.selection": "last"})
    with pytest.raises(WeightsError, match="has no weights for a training on all images, only for fold-0, fold-1"):
        train_on_all_images(*start(recipe, study, first.folder), tmp_path)
    lines: list[str] = []
    trained = train_on_all_images(*start(recipe, study, first.folder / "fold-0"), tmp_path, on_note=lines.append)
    assert "tensors." in lines[0]
    assert PROVENANCE in load_weights(trained.folder / "weights").config.provenance


def test_matching_tensors_are_loaded_and_other_networks_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = create_model("unet", width=4)
    folder = save_weights(trained, WeightsConfig("unet", {"width": 4}, 32), tmp_path, torch.float16)
    torch.manual_seed(1)
    same, more_regions = create_model("unet", width=4), create_model("unet", width=4, num_classes=3)
    assert load_initial(same, folder).tensors == len(trained.state_dict())
    assert same_weights(same, load_weights(folder).network)
    loaded = load_initial(more_regions, folder)
    assert loaded.of - loaded.tensors == 2  # weight and bias of the output
    for other in (create_model("unet", width=8), create_model("attention-unet", width=4)):
        with pytest.raises(WeightsError, match=r"are of 'unet' and have \d+ of \d+ tensors of the encoder.*'width': 4"):
            load_initial(other, folder)
