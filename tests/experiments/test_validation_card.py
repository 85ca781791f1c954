"""Validation card: values compared with `aggregate` and manual sums, origin, clusters, comparison; end-to-end test."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.cards import card_html, card_markdown
from fakes.runs import fold_record, recipe, write_plan
from fakes.scores import lesion_row, lost_row, normal_row
from helpers import FLOAT32_CPU, file_manifest, tiny_network

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import DataError
from taichinet.evaluation.aggregate import aggregate
from taichinet.evaluation.confidence import ConfidenceKeeper, ImageConfidence, measure_confidence, peak_probability
from taichinet.evaluation.undefined import POLICIES, SCORES, SUFFIX, ImageSize, resolve_undefined_scores
from taichinet.experiments import scoring
from taichinet.experiments.records import write_record
from taichinet.experiments.scoring import score_images
from taichinet.experiments.validation_card import (
    COMPARED,
    Extras,
    InternalResult,
    ValidationCard,
    read_internal,
    validation_card,
    worst_keys,
)
from taichinet.inference.predictor import Predictor
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig
from taichinet.reports.validation_card import case_images

WEIGHTS = WeightsConfig(
    "taichinet",
    {"width": 2},
    32,
    provenance={
        "recipe": "cpu-taichinet",
        "dataset": "busi",
        "include_normal": False,
        "protocol": "grouped",
        "fold": 0,
        "train_keys": ["x", "y"],
        "commit": "34db10c47731",
        "seen_images": ["0" * 16],
    },
)
OTHER: Dataset = replace(DATASET, name="files", title="Other", licence="CC BY 4.0")


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        [
            lesion_row("a", 0.8),
            lesion_row("b", 0.6, "malignant"),
            lesion_row("c", 0.0),
            lost_row("d", "malignant"),
            normal_row("e", 0),
            normal_row("f", 20),
            lesion_row("g", 0.3),
        ]
    )


def images(folder: Path, scores: pd.DataFrame) -> Manifest:
    return file_manifest(folder, dict(zip(scores["key"], scores["label"], strict=True)))


def confidences(scores: pd.DataFrame) -> dict[str, ImageConfidence]:
    """64 random probabilities per image, with a higher maximum for lesion images."""
    by_key = {}
    for number, (key, label) in enumerate(zip(scores["key"], scores["label"], strict=True)):
        p = np.random.default_rng(number).random((8, 8)) * (0.5 if label == "normal" else 1)
        by_key[key] = measure_confidence(p, p > 0.6)
    return by_key


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def card(scores: pd.DataFrame | None = None, weights: WeightsConfig = WEIGHTS, **extras: Any) -> ValidationCard:
        table = rows() if scores is None else scores
        return validation_card(
            table, weights, images(tmp_path / "files", table), OTHER, Extras(**extras), resamples=100
        )

    return card


@pytest.mark.parametrize("size", SUFFIX)
@pytest.mark.parametrize("score", SCORES)
def test_means_equal_aggregate(make: Any, size: ImageSize, score: str) -> None:
    card, summary = make(), aggregate(rows())
    expected = {(group.group, group.policy): group.score(score, size).mean for group in summary.groups}
    assert [group.group for group in card.by_class] == ["benign", "malignant"]
    for group in (card.lesion, *card.all_images, *card.by_class):
        assert group.scores[size][score].mean == pytest.approx(expected[group.group, group.policy])


def test_normal_images_and_missed_lesions_are_counted(make: Any) -> None:
    card, summary = make(), aggregate(rows())
    assert card.normal.images == summary.normal_images.images == 2
    assert card.normal.false_positive_rate.mean == summary.normal_images.false_positive_rate == 0.5
    assert card.normal.false_positive_area.mean == summary.normal_images.mean_false_positive_area
    assert card.missed == 2  # c, and d, whose lesion disappears by resizing
    assert [group.policy for group in card.all_images] == list(POLICIES)
    assert card.cohort.images_by_class == {"benign": 3, "malignant": 2, "normal": 2}


def test_card_without_normal_images_has_no_normal_part(make: Any) -> None:
    card = make(rows()[lambda table: table["label"] != "normal"])
    assert (card.normal, card.all_images) == (None, ())
    assert card.overall is card.lesion


def test_images_of_one_patient_are_one_cluster(make: Any, tmp_path: Path) -> None:
    assert make().cohort.clusters == 7
    manifest = images(tmp_path / "more", rows())
    patients = tuple(replace(sample, patient="P" if sample.key in "abg" else None) for sample in manifest)
    manifest = replace(manifest, samples=patients)
    card = validation_card(rows(), WEIGHTS, manifest, OTHER, resamples=50)
    assert card.cohort.clusters == 5  # a, b and g are of one patient
    assert card.lesion.scores["network"]["dice"].clusters == 3


def test_card_is_deterministic_and_worst_keys_ignore_row_order(make: Any) -> None:
    assert make() == make()
    assert worst_keys(rows()) == worst_keys(rows()[::-1])


def test_worst_cases_are_lesion_images_sorted_by_dice_and_key(make: Any) -> None:
    card = make(images={"d": b"png", "a": b"unused" * 2})
    assert [case.key for case in card.worst] == ["c", "d", "g", "b", "a"]
    assert [case.dice for case in card.worst] == [0.0, 0.0, 0.3, 0.6, 0.8]
    assert card.worst[1].image == b"png"
    assert card.worst[0].image is None
    assert worst_keys(rows(), 2) == ("c", "d")


def test_calibration_is_pooled_by_group_and_peaks_separate_normal_images(make: Any) -> None:
    by_key = confidences(rows())
    card = make(confidences=by_key)
    benign = next(group for group in card.by_class if group.group == "benign")
    assert benign.whole == by_key["a"].whole + by_key["c"].whole + by_key["g"].whole
    assert card.lesion.whole.total == 5 * 64
    assert card.overall.whole.total == 7 * 64
    assert card.overall.uncertain.total < 7 * 64
    assert card.normal.detection_auc == 1
    assert make().lesion.whole is None
    assert isnan(make().normal.detection_auc)


def test_missing_confidences_and_unknown_images_are_reported(make: Any, tmp_path: Path) -> None:
    by_key = confidences(rows())
    by_key.pop("b")
    with pytest.raises(DataError, match=r"1 of 7 scored images have no confidence(.|\n)*- b"):
        make(confidences=by_key)
    manifest = images(tmp_path / "six", rows()[:-1])
    with pytest.raises(DataError, match=r"1 of 7 scored images are not in the data set files(.|\n)*- g"):
        validation_card(rows(), WEIGHTS, manifest, OTHER)


def test_internal_result_is_compared_with_an_interval(make: Any) -> None:
    own = pd.DataFrame([lesion_row(str(i), 0.5 + i / 50) for i in range(20)])
    card = make(internal=InternalResult(own))
    assert [comparison.score for comparison in card.comparison] == list(COMPARED)
    assert card.comparison[0].internal == pytest.approx(0.69)
    assert card.comparison[0].difference.mean == pytest.approx((0.8 + 0.6 + 0 + 0 + 0.3) / 5 - 0.69)
    assert card.comparison[0].difference.bounded
    assert card.internal_images == 20
    assert make().comparison == ()


def test_internal_images_are_resampled_by_clusters_of_fold_plan(make: Any, tmp_path: Path) -> None:
    rows_of_run = [lesion_row(f"k{i}", 0.3 + 0.06 * (i // 4)) for i in range(20)]  # five groups of four near-duplicates
    groups = [[f"k{4 * i + j}" for j in range(4)] for i in range(5)]
    write_plan(tmp_path, {f"k{i}": 0 for i in range(20)}, groups)
    run = tmp_path / "busi/short-unet/grouped/fold-0"
    run.mkdir(parents=True)
    pd.DataFrame(rows_of_run).to_csv(run / "scores.csv", index=False)
    write_record(run / "result.json", fold_record(recipe("short-unet"), rows_of_run))
    internal = read_internal(run / "weights")
    assert internal is not None
    grouped, ungrouped = make(internal=internal), make(internal=replace(internal, groups=None))
    wide, narrow = grouped.comparison[0].difference, ungrouped.comparison[0].difference
    assert (grouped.internal_grouped, ungrouped.internal_grouped) == (True, False)
    assert narrow.clusters - wide.clusters == 15
    assert wide.high - wide.low > narrow.high - narrow.low


def test_validation_is_external_if_no_image_was_used_in_training(make: Any, tmp_path: Path) -> None:
    assert make().external
    digest = images(tmp_path / "files", rows()).image_digests()[0]
    shared = replace(WEIGHTS, provenance={**WEIGHTS.provenance, "seen_images": [digest]})
    assert not make(weights=shared).external
    without_digests = replace(WEIGHTS, provenance={"dataset": "files"})
    assert not make(weights=without_digests).external
    assert make(weights=replace(WEIGHTS, provenance={"dataset": "busi"})).external
    assert not make(weights=replace(WEIGHTS, provenance={})).external


def test_card_is_made_for_weights_without_provenance(make: Any) -> None:
    origin = make(weights=replace(WEIGHTS, provenance={})).origin
    assert (origin.name, origin.trained_on, origin.trained_images, origin.fold) == ("taichinet", None, None, None)
    known = make().origin
    assert (known.name, known.trained_on, known.trained_images, known.fold) == (
        "cpu-taichinet",
        "busi",
        2,
        0,
    )


def test_weights_outside_a_run_have_no_internal_result(tmp_path: Path) -> None:
    assert read_internal(tmp_path / "weights") is None


def test_internal_result_of_finished_run_has_lesion_images(tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "scores.csv", index=False)
    write_record(tmp_path / "result.json", fold_record(recipe("short-unet"), rows().to_dict("records")))
    own = read_internal(tmp_path / "weights")
    assert own is not None
    assert len(own.rows) == 5
    dice = resolve_undefined_scores(own.rows, "dice", None)
    assert dice.mean() == pytest.approx(aggregate(rows()).lesion.score("dice").mean)


def test_confidences_do_not_depend_on_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = DATASET.read(write_phantom_busi(tmp_path / "phantoms", 2, 2, 1, seed=1, size=(64, 80)))
    network, data = tiny_network(), prepare(manifest, 32, 1)
    one_batch, small_batches = ConfidenceKeeper("lesion"), ConfidenceKeeper("lesion")
    score_images(network, manifest, data, 0, FLOAT32_CPU, confidences=one_batch)
    monkeypatch.setattr(scoring, "BATCH_SIZE", 2)
    score_images(network, manifest, data, 0, FLOAT32_CPU, confidences=small_batches)
    assert tuple(one_batch.by_key) == tuple(small_batches.by_key) == data.keys
    assert [entry.whole.total for entry in one_batch.by_key.values()] == [32 * 32] * 5
    assert [sum(entry.whole.lesion_pixels) for entry in one_batch.by_key.values()] == data.lesion.flatten(1).sum(
        1
    ).tolist()
    for key, entry in small_batches.by_key.items():
        assert entry.whole.confidence == pytest.approx(one_batch.by_key[key].whole.confidence, abs=1e-3)
    with torch.inference_mode():
        lesion = network.eval()(data.batch(torch.arange(5)).image).lesion
    assert [entry.peak for entry in one_batch.by_key.values()] == pytest.approx(
        [peak_probability(probability[0].numpy()) for probability in lesion], abs=1e-5
    )


def test_card_from_phantom_folder_end_to_end(tmp_path: Path) -> None:
    manifest = DATASET.read(write_phantom_busi(tmp_path / "phantoms", 3, 2, 2, seed=1, size=(64, 80)))
    network = tiny_network()
    data = prepare(manifest, 32, 1)
    confidences = ConfidenceKeeper(manifest.regions[0])
    scores = score_images(network, manifest, data, 0, FLOAT32_CPU, confidences=confidences).rows
    worst = worst_keys(scores, 2)
    images = case_images(worst, manifest, Predictor(LoadedWeights(lambda: network, WEIGHTS), FLOAT32_CPU))
    extras = Extras(confidences=confidences.by_key, images=images)
    card = validation_card(scores, WEIGHTS, manifest, DATASET, extras, resamples=50)
    assert card.external
    assert [case.key for case in card.worst if case.image] == list(worst)
    html = card_html(card)
    assert html.count('<img src="data:image/png') == 2  # the worst cases
    assert html.count("<svg") == 1  # the reliability diagram
    assert f"{card.lesion.scores['network']['dice'].mean:.3f}" in card_markdown(card)


def test_image_outside_data_set_is_rejected(tmp_path: Path) -> None:
    predictor = Predictor(LoadedWeights(tiny_network, WEIGHTS), FLOAT32_CPU)
    with pytest.raises(DataError, match="files has no image 'z'"):
        case_images(["z"], file_manifest(tmp_path, {"a": "benign"}), predictor)
