"""What all layouts share: numbers in names are put in their order, wherever they stand."""

from __future__ import annotations

from itertools import permutations

import pytest

from taichinet.datasets.readers.layout import natural_order


@pytest.mark.parametrize(
    "ordered",
    [
        ["img 2", "img 10", "img 100"],
        ["2", "10", "a", "b2", "b10"],
        ["case", "case 2", "case10"],
        ["1_2", "1_10", "2_1"],
        ["x01", "x1", "x2"],
        ["a1b10", "a2b1", "a10b1"],
        ["³", "é9", "é10"],  # no digits of ASCII, so letters
    ],
)
def test_numbers_in_names_are_in_their_order(ordered: list[str]) -> None:
    for shuffled in permutations(ordered):
        assert sorted(shuffled, key=natural_order) == ordered
