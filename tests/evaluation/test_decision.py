"""Decision: temperature, threshold, holes, small components and presence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taichinet.errors import WeightsError
from taichinet.evaluation.decision import DEFAULT_DECISION, Decision, stored_decision


def random_map(size: int = 40, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((size, size)).astype(np.float32)


def picture(*rows: str) -> NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_default_is_the_threshold_only() -> None:
    probability = random_map()
    assert DEFAULT_DECISION.calibrated(probability) is probability
    np.testing.assert_array_equal(DEFAULT_DECISION.mask(probability, 0.0), probability > 0.5)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_mask_is_where_the_calibrated_probability_exceeds_the_threshold(temperature: float, threshold: float) -> None:
    decision, probability = Decision(temperature=temperature, threshold=threshold), random_map()
    calibrated = decision.calibrated(probability)
    assert calibrated.dtype == np.float32
    expected = 1 / (1 + (1 / probability.astype(np.float64) - 1) ** (1 / temperature))
    np.testing.assert_allclose(calibrated, expected, atol=1e-6)
    np.testing.assert_array_equal(decision.mask(probability, 0.0), expected > threshold)


def test_certain_probabilities_remain_finite_and_become_less_certain() -> None:
    calibrated = Decision(temperature=2).calibrated(np.array([0.0, 1.0], dtype=np.float32))
    assert 0 < calibrated[0] < 1e-3
    assert 1 - 1e-3 < calibrated[1] < 1


def test_presence_score_is_the_mean_of_the_most_probable_pixels_after_temperature() -> None:
    probability = random_map(100)
    largest = np.sort(probability, axis=None)[-20:].astype(np.float64)  # 0.2 % of 10,000
    assert Decision().presence_score(probability) == pytest.approx(largest.mean())
    decision = Decision(temperature=3)
    assert decision.presence_score(probability) == pytest.approx(decision.calibrated(largest).mean())
    assert Decision().presence_score(probability[:3, :3]) == pytest.approx(probability[:3, :3].max())


@pytest.mark.parametrize(("score", "share"), [(0.69, 0), (0.7, 1)])
def test_mask_is_empty_below_the_presence_score(score: float, share: int) -> None:
    assert Decision(presence=0.7).mask(np.ones((3, 4), np.float32), score).sum() == share * 12


def test_holes_are_filled_except_at_the_border_of_the_image() -> None:
    mask = picture("..###", ".#.#.", "..#..", "##...", ".#...")
    filled = picture("..###", ".###.", "..#..", "##...", ".#...")
    np.testing.assert_array_equal(Decision(fill_holes=True).cleaned(mask), filled)
    np.testing.assert_array_equal(Decision().cleaned(mask), mask)


def test_small_components_are_removed_by_share_of_the_area_at_every_resolution() -> None:
    mask = picture("#....", ".#...", ".....", "....#", ".....")  # 2 diagonal pixels, and 1, of 25
    kept = picture("#....", ".#...", ".....", ".....", ".....")
    for scale in (1, 4):
        larger = np.ones((scale, scale), dtype=np.bool_)
        decision = Decision(smallest_component=0.05)
        np.testing.assert_array_equal(decision.cleaned(np.kron(mask, larger)), np.kron(kept, larger))
    assert not Decision(smallest_component=0.1).cleaned(mask).any()
    assert Decision(smallest_component=0.08).cleaned(mask).sum() == 2  # components of exactly the share are kept


def test_holes_are_filled_before_small_components_are_removed() -> None:
    mask = picture("...", ".#.", "#.#", ".#.", "...")
    assert Decision(fill_holes=True, smallest_component=0.3).cleaned(mask).sum() == 5


def test_decision_of_weights_is_that_of_the_file_or_a_threshold() -> None:
    decision = Decision(temperature=1.5, threshold=0.4, smallest_component=0.01, fill_holes=True, presence=0.6)
    assert stored_decision(decision.model_dump(mode="json"), 0.5, "w") == decision
    assert stored_decision({"temperature": 2}, 0.3, "w") == Decision(temperature=2)
    assert stored_decision(None, 0.3, "w") == Decision(threshold=0.3)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"temperature": 0}, "'decision.temperature' is 0 "),
        ({"threshold": "0.5"}, "'decision.threshold' is '0.5' "),
        ({"smallest_component": 1.0}, "'decision.smallest_component' is 1.0 "),
        ({"fill_holes": 1}, "'decision.fill_holes' is 1 "),
        ({"presence": float("nan")}, "'decision.presence' is nan "),
        ({"prescence": 0.5}, "'decision.prescence' is 0.5 "),
        ([], "'decision' is \\[\\] "),
    ],
)
def test_bad_values_of_the_file_are_reported_with_key_value_and_remedy(values: Any, named: str) -> None:
    with pytest.raises(WeightsError, match=f"weights runs/w: {named}.*Copy or train"):
        stored_decision(values, 0.5, "runs/w")
