"""The bootstrap against loops that draw the same clusters, against theory, and in its undefined cases."""

from __future__ import annotations

from math import isnan, nan, sqrt

import numpy as np
import pytest

from taichinet.errors import DataError, SettingError
from taichinet.evaluation import uncertainty
from taichinet.evaluation.uncertainty import bootstrap_difference, bootstrap_mean

VALUES = [0.2, 0.4, 0.9, 0.8, 0.7, 0.1, 0.6]
CLUSTERS = ["a", "a", "b", "c", "c", "c", "d"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_loops(values: list[float], clusters: list[str], resamples: int, level: float) -> tuple[float, float]:
    members = {
        name: [v for v, c in zip(values, clusters, strict=True) if c == name] for name in dict.fromkeys(clusters)
    }
    names = list(members)
    means = []
    for drawn in rng().integers(0, len(names), size=(resamples, len(names))):
        images = [value for number in drawn for value in members[names[number]]]
        means.append(sum(images) / len(images))
    means.sort()

    def at(share: float) -> float:  # linear interpolation between neighbours
        place = share * (resamples - 1)
        below = int(place)
        above = min(below + 1, resamples - 1)
        return means[below] + (place - below) * (means[above] - means[below])

    return at((1 - level) / 2), at((1 + level) / 2)


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_interval_equals_a_loop_over_drawn_clusters(level: float) -> None:
    interval = bootstrap_mean(VALUES, rng(), CLUSTERS, resamples=200, level=level)
    assert (interval.low, interval.high) == pytest.approx(by_loops(VALUES, CLUSTERS, 200, level))
    assert interval.mean == pytest.approx(sum(VALUES) / 7)
    assert (interval.images, interval.clusters) == (7, 4)


def test_memory_is_bounded_without_changing_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    unbounded = bootstrap_mean(VALUES, rng(), CLUSTERS, resamples=101)
    monkeypatch.setattr(uncertainty, "DRAWN_AT_ONCE", 9)
    assert bootstrap_mean(VALUES, rng(), CLUSTERS, resamples=101) == unbounded


def test_one_cluster_per_image_equals_no_clustering() -> None:
    assert bootstrap_mean(VALUES, rng(), list("abcdefg")) == bootstrap_mean(VALUES, rng())


def test_interval_of_many_images_equals_the_normal_approximation() -> None:
    values = rng(1).normal(0.7, 0.2, 900)
    interval = bootstrap_mean(values, rng(2), resamples=4000)
    half = 1.96 * values.std() / sqrt(900)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.06)


def test_repeated_images_in_clusters_do_not_narrow_the_interval() -> None:
    values = rng(1).random(40)
    copies, patients = np.repeat(values, 5), np.repeat(np.arange(40), 5).tolist()
    without_copies = bootstrap_mean(values, rng())
    clustered, naive = bootstrap_mean(copies, rng(), patients), bootstrap_mean(copies, rng())
    assert (clustered.low, clustered.high) == pytest.approx((without_copies.low, without_copies.high))
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def test_about_95_per_cent_of_intervals_contain_the_true_mean() -> None:
    intervals = [bootstrap_mean(rng(seed).random(60), rng(seed), resamples=300) for seed in range(200)]
    assert 0.89 <= np.mean([interval.low <= 0.5 <= interval.high for interval in intervals]) <= 0.99


def test_interval_depends_on_the_seed_only() -> None:
    assert bootstrap_mean(VALUES, rng(4)) == bootstrap_mean(VALUES, rng(4))
    assert bootstrap_mean(VALUES, rng(4)).low != bootstrap_mean(VALUES, rng(5)).low


@pytest.mark.parametrize(("values", "clusters"), [([0.5], None), ([0.2, 0.9], ["a", "a"]), ([0.3] * 7, None)])
def test_one_cluster_or_no_variation_gives_a_mean_without_bounds(
    values: list[float], clusters: list[str] | None
) -> None:
    interval = bootstrap_mean(values, rng(), clusters)
    assert interval.mean == pytest.approx(sum(values) / len(values))
    assert not interval.bounded
    assert isnan(interval.high)


def test_no_images_give_an_undefined_mean() -> None:
    interval = bootstrap_mean([], rng())
    assert isnan(interval.mean)
    assert not interval.bounded
    assert (interval.images, interval.clusters) == (0, 0)
    assert isnan(bootstrap_difference([], VALUES, rng()).mean)


def test_interval_of_a_difference_depends_on_both_sides() -> None:
    first, second = rng(1).normal(0.6, 0.2, 500), rng(2).normal(0.7, 0.1, 800)
    interval = bootstrap_difference(first, second, rng(3), resamples=4000)
    assert interval.mean == pytest.approx(first.mean() - second.mean())
    half = 1.96 * sqrt(first.var() / 500 + second.var() / 800)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.08)
    assert (interval.high + interval.low) / 2 == pytest.approx(interval.mean, abs=half / 5)
    assert interval.images == 1300


def test_difference_to_a_single_cluster_has_no_bounds() -> None:
    assert not bootstrap_difference(VALUES, [0.5], rng()).bounded


def test_undefined_values_missing_clusters_and_invalid_settings_are_rejected() -> None:
    with pytest.raises(DataError, match="1 of 2 values are not finite"):
        bootstrap_mean([0.1, nan], rng())
    with pytest.raises(DataError, match="2 values but 1 clusters"):
        bootstrap_mean([0.1, 0.2], rng(), ["a"])
    with pytest.raises(SettingError, match="resamples is 0"):
        bootstrap_mean([0.1, 0.2], rng(), resamples=0)
    with pytest.raises(SettingError, match="level 95"):
        bootstrap_mean([0.1, 0.2], rng(), level=95)
