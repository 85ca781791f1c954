"""Wilson intervals against scipy."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from taichinet.errors import SettingError
from taichinet.evaluation.rates import Rate


@pytest.mark.parametrize(("events", "total"), [(0, 24), (1, 1), (17, 24), (133, 133), (612, 680)])
def test_interval_is_that_of_scipy(events: int, total: int) -> None:
    rate = Rate.of(events, total)
    expected = binomtest(events, total).proportion_ci(method="wilson")
    assert (rate.share, rate.low, rate.high) == pytest.approx((events / total, expected.low, expected.high), abs=1e-12)


def test_repeated_cases_do_not_narrow_the_interval() -> None:
    once, repeated = Rate.of(8, 10), Rate.of(40, 50, repeats=5)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))
    assert (repeated.events, repeated.total) == (40, 50)


def test_without_cases_there_is_no_share() -> None:
    assert Rate.of(0, 0) == Rate(events=0, total=0, share=None, low=None, high=None)


@pytest.mark.parametrize(("events", "total", "repeats"), [(-1, 5, 1), (6, 5, 1), (1, 5, 0.5)])
def test_impossible_counts_are_rejected(events: int, total: int, repeats: float) -> None:
    with pytest.raises(SettingError, match="are not a rate"):
        Rate.of(events, total, repeats)
