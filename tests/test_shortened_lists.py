"""Lists of problems in messages are shortened."""

from __future__ import annotations

from taichinet.errors import first_few


def test_only_long_lists_are_shortened_and_the_rest_is_counted() -> None:
    lines = [str(number) for number in range(7)]
    assert first_few(lines[:5]) == lines[:5]
    assert first_few(lines) == [*lines[:5], "and 2 more"]
    assert first_few(lines, most=3) == ["0", "1", "2", "and 4 more"]
