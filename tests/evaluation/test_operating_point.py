"""Choice of temperature, post-processing and presence threshold on synthetic probability maps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from taichinet.errors import SettingError
from taichinet.evaluation import operating_point as module
from taichinet.evaluation.decision import Decision
from taichinet.evaluation.metrics import dice_score
from taichinet.evaluation.operating_point import (
    ValidationImage,
    choose_operating_point,
    fit_temperature,
)

SIZE = 30


def square(size: int = 10) -> NDArray[np.bool_]:
    mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask[10 : 10 + size, 10 : 10 + size] = True
    return mask


def image(inside: float, predicted: NDArray[np.bool_] | None = None, normal: bool = False) -> ValidationImage:
    """An image with the probability `inside` in `predicted`, by default the true square, and 0.1 elsewhere."""
    probability = np.where(square() if predicted is None else predicted, inside, 0.1).astype(np.float32)
    return ValidationImage(probability, np.zeros_like(square()) if normal else square())


def test_temperature_of_overconfident_maps_is_recovered() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (8, 60, 60))
    truths = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    images = [
        ValidationImage((1 / (1 + np.exp(-2.5 * z))).astype(np.float32), y) for z, y in zip(logits, truths, strict=True)
    ]
    assert fit_temperature(images) == pytest.approx(2.5, rel=0.05)
    chosen = choose_operating_point(images[:1], 0.95)
    assert chosen.cross_entropy_before is not None
    assert chosen.cross_entropy_after is not None
    assert chosen.cross_entropy_after < chosen.cross_entropy_before
    assert chosen.ece_before is not None
    assert chosen.ece_after is not None
    assert chosen.ece_after < 0.5 * chosen.ece_before


def test_post_processing_removes_a_speck_and_fills_a_hole() -> None:
    truth = square().repeat(2, axis=0).repeat(2, axis=1)
    predicted = truth.copy()
    predicted[28:32, 28:32] = False
    predicted[2, 2] = True  # 0.03 % of the image
    probability = np.where(predicted, 0.9, 0.1).astype(np.float32)
    chosen = choose_operating_point([ValidationImage(probability, truth)] * 2, 0.95)
    assert chosen.dice_at_default == pytest.approx(2 * 384 / (385 + 400))
    assert chosen.dice_before == chosen.dice == 1
    assert (chosen.decision.threshold, chosen.decision.smallest_component) == (0.5, 0.0005)
    assert chosen.decision.fill_holes


def test_small_lesions_are_not_removed_for_fewer_false_positives() -> None:
    lesion = np.zeros((40, 40), dtype=np.bool_)
    lesion[10:12, 10:13] = True  # 0.4 % of the image
    speck = np.where(np.roll(lesion, 9, axis=0), 0.9, 0.1).astype(np.float32)
    large = np.pad(square(), 5)
    found = [ValidationImage(np.where(truth, 0.9, 0.1).astype(np.float32), truth) for truth in (lesion, *[large] * 300)]
    normal = [ValidationImage(speck, np.zeros_like(lesion))] * 20
    assert choose_operating_point([*found, *normal], 0.95).decision.smallest_component <= 0.001


@pytest.mark.parametrize("decision", [Decision(threshold=0.7), Decision(threshold=0.6, fill_holes=True)])
def test_components_of_all_sizes_are_scored_like_one_mask_each(decision: Decision) -> None:
    for seed, truth in enumerate([square(), ~square(SIZE)]):
        probability = np.random.default_rng(seed).random((SIZE, SIZE)).astype(np.float32)
        dices, predicted = module._scores_by_component_size(decision, ValidationImage(probability, truth))
        for share, dice, any_predicted in zip(module.SMALLEST_COMPONENTS, dices, predicted, strict=True):
            mask = decision.model_copy(update={"smallest_component": share}).mask(probability, 1.0)
            assert any_predicted == mask.any()
            assert dice == pytest.approx(np.nan_to_num(dice_score(mask, truth)))


def test_of_nearly_equal_dice_the_fewest_false_positives_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit_temperature", lambda images: 1.0)
    lesions, normal = [image(0.9)] * 2, image(0.62, normal=True)
    chosen = choose_operating_point([*lesions, normal], 1.0)
    assert chosen.decision.threshold == 0.65  # 0.5 has the same Dice, but predicts a lesion on the normal image
    assert chosen.before is not None
    assert (chosen.before.found, chosen.before.normal_predicted) == (1.0, 0.0)
    assert choose_operating_point(lesions, 1.0).decision.threshold == 0.5


def test_presence_threshold_keeps_the_requested_share_of_found_lesions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit_temperature", lambda images: 1.0)
    monkeypatch.setattr(module, "THRESHOLDS", (0.5,))
    elsewhere = np.roll(square(), (-10, -10), (0, 1))
    found = [image(0.6 + i / 100) for i in range(20)]
    missed = [image(0.99, elsewhere)] * 2
    normals = [image(0.605, normal=True), image(0.7, normal=True), image(0.2, normal=True)]
    chosen = choose_operating_point([*found, *missed, *normals], 0.95)
    assert (chosen.lesion_images, chosen.normal_images) == (22, 3)
    assert chosen.decision.presence == pytest.approx(0.61, abs=1e-5)  # 19 of the 20; the missed ones do not count
    assert chosen.after is not None
    assert chosen.after.found == pytest.approx(19 / 22)
    assert chosen.after.normal_predicted == pytest.approx(1 / 3)
    assert chosen.dice is not None
    assert chosen.dice_before is not None
    assert chosen.dice == pytest.approx(chosen.dice_before - 1 / 22)
    assert chosen.notes == ()
    assert chosen.curve[0] == chosen.before
    assert chosen.after in chosen.curve
    founds = [point.found for point in chosen.curve]
    assert founds == sorted(founds, reverse=True)
    stricter = choose_operating_point([*found, *missed, *normals], 0.5)
    assert stricter.decision.presence == pytest.approx(0.7, abs=1e-5)


def test_without_normal_images_there_is_no_presence_decision_and_a_note() -> None:
    chosen = choose_operating_point([image(0.9)] * 10, 0.95)
    assert chosen.decision.presence == 0
    assert chosen.before is not None
    assert chosen.before.normal_predicted is None
    (note,) = chosen.notes
    assert "no normal image" in note
    assert "data.include_normal" in note


def test_few_or_no_lesion_images_are_noted() -> None:
    few = choose_operating_point([image(0.9)] * 9 + [image(0.2, normal=True)], 0.95)
    assert [note for note in few.notes if "only 9 lesion images" in note] == list(few.notes)
    none = choose_operating_point([image(0.9, normal=True)], 0.95)
    assert none.decision == Decision()
    assert "no lesion image" in none.notes[0]


@pytest.mark.parametrize(("count", "sensitivity"), [(0, 0.95), (1, 0.0), (1, 1.5)])
def test_no_images_and_a_wrong_sensitivity_are_rejected(count: int, sensitivity: float) -> None:
    with pytest.raises(SettingError, match=r"data\.validation_share and decision\.sensitivity"):
        choose_operating_point([image(0.9)] * count, sensitivity)
