"""Paired comparisons against counts by hand, enumeration of all signs, scipy and Holm's step-down procedure."""

from __future__ import annotations

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from scipy.stats import wilcoxon

from taichinet.errors import DataError
from taichinet.evaluation.statistics import compare_pairs, holm
from taichinet.evaluation.uncertainty import bootstrap_mean


def paired_scores(count: int, seed: int, shift: float = 0.02) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    others = rng.uniform(0.3, 0.9, count)
    return list(others + rng.normal(shift, 0.05, count)), list(others)


def signed_ranks(differences: list[float]) -> list[float]:
    """Signed ranks by counting: the number of smaller magnitudes plus half of the equal ones."""
    nonzero = [d for d in differences if d != 0]
    ranks = [
        sum(abs(other) < abs(d) for other in nonzero) + (1 + sum(abs(other) == abs(d) for other in nonzero)) / 2
        for d in nonzero
    ]
    return [rank if d > 0 else -rank for rank, d in zip(ranks, nonzero, strict=True)]


def test_p_is_the_share_of_sign_patterns_at_least_as_extreme() -> None:
    values, others = paired_scores(11, seed=3)
    ranks = signed_ranks([a - b for a, b in zip(values, others, strict=True)])
    observed = abs(sum(ranks))
    patterns = [
        abs(sum(s * abs(r) for s, r in zip(signs, ranks, strict=True))) for signs in product((-1, 1), repeat=len(ranks))
    ]
    expected = sum(pattern >= observed - 1e-9 for pattern in patterns) / len(patterns)
    assert compare_pairs(values, others, np.random.default_rng(0)).p == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_effect_is_the_normalised_difference_of_rank_sums(seed: int) -> None:
    values, others = paired_scores(40, seed)
    values[:5] = others[:5]  # equal images do not count
    ranks = signed_ranks([a - b for a, b in zip(values, others, strict=True)])
    favourable, unfavourable = sum(r for r in ranks if r > 0), -sum(r for r in ranks if r < 0)
    comparison = compare_pairs(values, others, np.random.default_rng(0))
    assert comparison.effect == pytest.approx((favourable - unfavourable) / (favourable + unfavourable))
    assert (comparison.better, comparison.worse) == (sum(r > 0 for r in ranks), sum(r < 0 for r in ranks))
    assert comparison.images == 40


def test_swapping_the_sides_changes_the_signs_but_not_p() -> None:
    values, others = paired_scores(60, seed=1)
    forward, backward = (compare_pairs(a, b, np.random.default_rng(0)) for a, b in ((values, others), (others, values)))
    assert forward.p == pytest.approx(backward.p)
    assert forward.effect == pytest.approx(-backward.effect)
    assert forward.difference.mean == pytest.approx(-backward.difference.mean)


def test_better_on_every_image_gives_effect_one() -> None:
    comparison = compare_pairs([0.5, 0.7, 0.9], [0.4, 0.5, 0.6], np.random.default_rng(0))
    assert comparison.effect == 1
    assert comparison.p == pytest.approx(2 / 2**3)


def test_rounding_errors_are_no_difference() -> None:
    comparison = compare_pairs([0.5, 0.6], [0.5 + 1e-9, 0.6], np.random.default_rng(0))
    assert isnan(comparison.p)
    assert (comparison.effect, comparison.better, comparison.worse) == (0, 0, 0)


def test_differences_equal_up_to_rounding_are_ties() -> None:
    values, others = [0.3, 0.9, 0.5, 0.8, 0.1], [0.1, 0.7, 0.3, 0.6, 0.3]
    comparison = compare_pairs(values, others, np.random.default_rng(0))
    assert len({abs(a - b) for a, b in zip(values, others, strict=True)}) > 1  # binary fractions differ
    assert comparison.p == pytest.approx(0.375)  # 2 * 6 of 32 sign patterns
    assert comparison.effect == pytest.approx(0.6)


@pytest.mark.parametrize("count", [10, 40, 200])
def test_p_equals_scipy_on_rounded_differences(count: int) -> None:
    rng = np.random.default_rng(count)
    values, others = rng.integers(0, 10, (2, count)) / 10 + 0.05
    differences = np.round(values - others, 6)
    comparison = compare_pairs(values, others, np.random.default_rng(0))
    assert comparison.p == pytest.approx(wilcoxon(differences[differences != 0]).pvalue)


def test_interval_equals_the_bootstrap_of_differences_over_clusters() -> None:
    values, others = paired_scores(30, seed=5)
    clusters = [number // 3 for number in range(30)]
    differences = [a - b for a, b in zip(values, others, strict=True)]
    expected = bootstrap_mean(differences, np.random.default_rng(7), clusters)
    assert compare_pairs(values, others, np.random.default_rng(7), clusters).difference == expected
    assert expected.clusters == 10


def test_lists_of_different_lengths_are_rejected() -> None:
    with pytest.raises(DataError, match="same images"):
        compare_pairs([0.5], [0.5, 0.6], np.random.default_rng(0))


def test_holm_on_an_example_with_four_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_the_same_as_its_step_down_procedure(seed: int) -> None:
    """Holm's original procedure: reject from the smallest p on, until one is above alpha / (m - k)."""
    values = list(np.random.default_rng(seed).uniform(0, 0.2, 8) ** 2)
    for alpha in (0.01, 0.03, 0.05, 0.1):
        rejected: set[int] = set()
        for k, place in enumerate(np.argsort(values)):
            if values[place] > alpha / (len(values) - k):
                break
            rejected.add(int(place))
        assert {place for place, p in enumerate(holm(values)) if p <= alpha} == rejected


def test_undefined_p_is_not_part_of_the_family() -> None:
    adjusted = holm([nan, 0.02, 0.3])
    assert isnan(adjusted[0])
    assert adjusted[1:] == pytest.approx([0.04, 0.3])
    assert holm([]) == []
