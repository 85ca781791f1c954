"""Natural order: numbers in file names are sorted by value."""

from __future__ import annotations

from itertools import permutations

import pytest

from taichinet.datasets.readers.layout import natural_order


@pytest.mark.parametrize(
    "ordered",
    [
        ["img 2", "img 10", "img 100"],
        ["2", "10", "a", "b2", "b10"],
        ["case", "case10", "case 2"],
        ["1_2", "1_10", "2_1"],
        ["x01", "x1", "x2"],
        ["a1b10", "a2b1", "a10b1"],
        ["³", "é9", "é10"],  # not ASCII digits, so treated as letters
    ],
)
def test_numbers_in_names_are_sorted_by_value(ordered: list[str]) -> None:
    for shuffled in permutations(ordered):
        assert sorted(shuffled, key=natural_order) == ordered
