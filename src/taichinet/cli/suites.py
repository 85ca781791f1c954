"""The suites of `compare` and `cost` from their arguments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taichinet.experiments.grid.suite import Suite

_MAX_NUMBERS = 10_000  # for --fold and --seed; the maximum of `data.folds`


def select_suites(
    suites: list[str],
    scale: str | None,
    folds: list[str] | None,
    protocols: list[str] | None,
    seeds: list[str] | None,
    assignments: list[str] | None,
) -> list[Suite]:
    """Find the suites, and apply the options of the command; raises SettingError for unknown names and values.

    Folds and seeds are numbers and ranges, e.g. `["0", "2-4"]`. None keeps what the suite has.
    """
    from taichinet.experiments.experiment import parse_assignments
    from taichinet.experiments.grid.suite import find_suite, vary_suite

    return [
        vary_suite(
            find_suite(name),
            scale=scale,
            folds=parse_numbers(folds, "--fold"),
            protocols=protocols,
            seeds=parse_numbers(seeds, "--seeds"),
            set=parse_assignments(assignments or []),
        )
        for name in suites
    ]


def parse_numbers(texts: list[str] | None, option: str) -> tuple[int, ...] | None:
    """Parse `["0", "2-4"]` or `["0,2-4"]` to (0, 2, 3, 4). `_MAX_NUMBERS` is checked before ranges are expanded."""
    from taichinet.errors import SettingError

    if not texts:
        return None
    numbers: set[int] = set()
    for part in (part.strip() for text in texts for part in text.split(",")):
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", part)
        if match is None:
            raise SettingError(
                f"{option} '{part[:100]}' is neither a number of up to 10 digits nor a range. Write e.g. 0 or 0,2-4."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise SettingError(f"{option} '{part}' ends before it begins. Write {last}-{first}.")
        if len(numbers) + last - first >= _MAX_NUMBERS:
            raise SettingError(f"{option} '{part}' contains more than {_MAX_NUMBERS} numbers. Give fewer, e.g. 0-4.")
        numbers |= set(range(first, last + 1))
    return tuple(sorted(numbers))
