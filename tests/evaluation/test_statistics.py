"""Paired comparisons against counting by hand, enumeration of all signs, and step-down written otherwise."""

from __future__ import annotations

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from scipy.stats import wilcoxon

from taichinet.errors import DataError
from taichinet.evaluation.statistics import compare_pairs, holm
from taichinet.evaluation.uncertainty import bootstrap_mean


def pairs(count: int, seed: int, shift: float = 0.02) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    others = rng.uniform(0.3, 0.9, count)
    return list(others + rng.normal(shift, 0.05, count)), list(others)


def signed_ranks(differences: list[float]) -> list[float]:
    """Signed ranks by counting: how many are smaller in size, and half of those of one size."""
    told = [d for d in differences if d != 0]
    ranks = [
        sum(abs(other) < abs(d) for other in told) + (1 + sum(abs(other) == abs(d) for other in told)) / 2 for d in told
    ]
    return [rank if d > 0 else -rank for rank, d in zip(ranks, told, strict=True)]


def test_p_is_the_share_of_all_sign_patterns_that_are_as_extreme() -> None:
    values, others = pairs(11, seed=3)
    ranks = signed_ranks([a - b for a, b in zip(values, others, strict=True)])
    observed = abs(sum(ranks))
    patterns = [
        abs(sum(s * abs(r) for s, r in zip(signs, ranks, strict=True))) for signs in product((-1, 1), repeat=len(ranks))
    ]
    expected = sum(pattern >= observed - 1e-9 for pattern in patterns) / len(patterns)
    assert compare_pairs(values, others, np.random.default_rng(0)).p == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_effect_is_favourable_minus_unfavourable_ranks(seed: int) -> None:
    values, others = pairs(40, seed)
    values[:5] = others[:5]  # equal images do not count
    ranks = signed_ranks([a - b for a, b in zip(values, others, strict=True)])
    for_it, against = sum(r for r in ranks if r > 0), -sum(r for r in ranks if r < 0)
    found = compare_pairs(values, others, np.random.default_rng(0))
    assert found.effect == pytest.approx((for_it - against) / (for_it + against))
    assert (found.better, found.worse) == (sum(r > 0 for r in ranks), sum(r < 0 for r in ranks))
    assert found.images == 40


def test_changing_sides_changes_the_signs_and_not_p() -> None:
    values, others = pairs(60, seed=1)
    here, there = (compare_pairs(a, b, np.random.default_rng(0)) for a, b in ((values, others), (others, values)))
    assert here.p == pytest.approx(there.p)
    assert here.effect == pytest.approx(-there.effect)
    assert here.difference.mean == pytest.approx(-there.difference.mean)


def test_a_network_that_is_better_on_every_image_has_effect_one() -> None:
    found = compare_pairs([0.5, 0.7, 0.9], [0.4, 0.5, 0.6], np.random.default_rng(0))
    assert found.effect == 1
    assert found.p == pytest.approx(2 / 2**3)


def test_rounding_is_no_difference() -> None:
    found = compare_pairs([0.5, 0.6], [0.5 + 1e-9, 0.6], np.random.default_rng(0))
    assert isnan(found.p)
    assert (found.effect, found.better, found.worse) == (0, 0, 0)


def test_differences_that_only_rounding_separates_are_ties() -> None:
    values, others = [0.3, 0.9, 0.5, 0.8, 0.1], [0.1, 0.7, 0.3, 0.6, 0.3]
    found = compare_pairs(values, others, np.random.default_rng(0))
    assert len({abs(a - b) for a, b in zip(values, others, strict=True)}) > 1  # binary fractions differ
    assert found.p == pytest.approx(0.375)  # 2 * 6 of 32 sign patterns
    assert found.effect == pytest.approx(0.6)


@pytest.mark.parametrize("count", [10, 40, 200])
def test_p_is_that_of_scipy_on_rounded_differences(count: int) -> None:
    rng = np.random.default_rng(count)
    values, others = rng.integers(0, 10, (2, count)) / 10 + 0.05
    differences = np.round(values - others, 6)
    found = compare_pairs(values, others, np.random.default_rng(0))
    assert found.p == pytest.approx(wilcoxon(differences[differences != 0]).pvalue)


def test_the_interval_is_that_of_the_differences_over_clusters() -> None:
    values, others = pairs(30, seed=5)
    clusters = [number // 3 for number in range(30)]
    differences = [a - b for a, b in zip(values, others, strict=True)]
    expected = bootstrap_mean(differences, np.random.default_rng(7), clusters)
    assert compare_pairs(values, others, np.random.default_rng(7), clusters).difference == expected
    assert expected.clusters == 10


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="same images"):
        compare_pairs([0.5], [0.5, 0.6], np.random.default_rng(0))


def test_holm_on_the_example_of_four() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_its_step_down_rejects(seed: int) -> None:
    """Written as Holm writes it: from the smallest on, until one is above alpha / (m - k)."""
    values = list(np.random.default_rng(seed).uniform(0, 0.2, 8) ** 2)
    for alpha in (0.01, 0.03, 0.05, 0.1):
        rejected: set[int] = set()
        for k, place in enumerate(np.argsort(values)):
            if values[place] > alpha / (len(values) - k):
                break
            rejected.add(int(place))
        assert {place for place, p in enumerate(holm(values)) if p <= alpha} == rejected


def test_what_was_not_tested_is_not_of_the_family() -> None:
    adjusted = holm([nan, 0.02, 0.3])
    assert isnan(adjusted[0])
    assert adjusted[1:] == pytest.approx([0.04, 0.3])
    assert holm([]) == []
