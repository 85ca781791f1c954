"""The suites of `compare` and `cost` from their arguments: tables, YAML files, recipes and networks in files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taichinet.experiments.grid.suite import Suite

_MAX_NUMBERS = 10_000  # for --fold and --seed; the maximum of `data.folds`


def select_suites(
    suites: list[str],
    data: Sequence[str],
    scale: str | None,
    folds: list[str] | None,
    protocols: list[str] | None,
    seeds: list[str] | None,
    assignments: list[str] | None,
) -> list[Suite]:
    """Find the suites, and apply the options of the command; raises SettingError for unknown names and values.

    A recipe, or a network in a file, is a suite on `data`, the names of the given data sets, which are joined if there
    are several. Without `scale`, recipes alone have the scale of `train FILE.py:CLASS`; with a table, that of tables.
    Folds and seeds are numbers and ranges, e.g. `["0", "2-4"]`. None keeps what the suite has.
    """
    from taichinet.experiments.experiment import parse_assignments
    from taichinet.experiments.grid.suite import TABLE_SCALE, find_suite, names_recipe, recipe_suite, vary_suite
    from taichinet.experiments.recipes.own import OWN_SCALE

    are_recipes = [names_recipe(name) for name in suites]
    default = OWN_SCALE if all(are_recipes) else TABLE_SCALE
    if any(are_recipes) and not data:
        _refuse_without_data(suites[are_recipes.index(True)])
    return [
        vary_suite(
            recipe_suite(name, "+".join(data), default) if is_recipe else find_suite(name),
            scale=scale,
            folds=parse_numbers(folds, "--fold"),
            protocols=protocols,
            seeds=parse_numbers(seeds, "--seed"),
            set=parse_assignments(assignments or []),
        )
        for name, is_recipe in zip(suites, are_recipes, strict=True)
    ]


def _refuse_without_data(recipe: str) -> None:
    from taichinet.errors import SettingError

    raise SettingError(f"{recipe} is trained on the data sets that you give: add --data FOLDER.")


def add_reference(suites: list[str], against: str | None) -> list[str]:
    """`suites` with the baseline of `--against` as the last; raises SettingError if it is not a recipe."""
    from taichinet.errors import unknown_name
    from taichinet.experiments.grid.suite import names_recipe
    from taichinet.experiments.recipes.catalogue import list_recipes, list_rows

    if against is None:
        return suites
    if not names_recipe(against):
        raise unknown_name(
            "network or recipe for --against",
            against,
            (*list_rows(), *list_recipes()),
            "FILE.py:CLASS or a recipe",
            near=1,
        )
    return [*suites, against]


def with_mix(assignments: list[str] | None, mix: str | None) -> list[str]:
    """The settings of --set with that of --mix."""
    return [*(assignments or ()), *(() if mix is None else (f"data.mix={mix}",))]


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
