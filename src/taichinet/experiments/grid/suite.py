"""Suites: recipes, data sets, folds, protocols and seeds of a grid, from a table of the paper, YAML or a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from taichinet.datasets.folds import PROTOCOLS, Protocol
from taichinet.errors import SettingError, unknown_name
from taichinet.experiments.paper import paper_table, paper_tables
from taichinet.experiments.recipes.catalogue import SCALES, list_recipes, list_rows
from taichinet.models.own_code import names_file
from taichinet.settings import Settings
from taichinet.storage.documents import read_yaml

ALL_TABLES = "paper"
TABLE_SCALE = "busi"


class SuitePart(Settings):
    """Recipes on one data set. `test_on` names further data sets on which their networks are scored."""

    data: str = Field(description="name of the training data set, see `taichinet data list`; several joined by +")
    recipes: tuple[str, ...] = Field(min_length=1, description="names, with or without the scale, e.g. unet")
    normal: bool | None = Field(default=None, description="whether to include normal images; default: as in the recipe")
    test_on: tuple[str, ...] = Field(default=(), description="data sets on which the networks are scored, too")
    protocol: Protocol = Field(default="grouped", description="used if the suite has no protocols")
    set: dict[str, Any] = Field(default_factory=dict, description="settings of these recipes, by dotted key")


class Suite(Settings):
    """A grid: every recipe of every part x `protocols` x `seeds` x `folds` (None: all folds).

    Without `protocols`, each part has its own protocol, for a table of the paper that of the table.
    """

    parts: tuple[SuitePart, ...] = Field(min_length=1, description="recipes by data set")
    scale: str = Field(default=TABLE_SCALE, description="scale of the recipes")
    folds: tuple[int, ...] | None = Field(default=None, description="folds to train; null: all")
    protocols: tuple[Protocol, ...] = Field(default=(), description="of every part; empty: as in each part")
    seeds: tuple[int, ...] = Field(default=(), description="of the training; empty: as in the recipe")
    set: dict[str, Any] = Field(default_factory=dict, description="settings of every recipe, by dotted key")

    def protocols_of(self, part: SuitePart) -> tuple[Protocol, ...]:
        """The fold protocols of `part`."""
        return self.protocols or (part.protocol,)


def table_suite(name: str) -> Suite:
    """The suite of one table of the paper, "table1" to "table7", or of all tables, "paper"."""
    tables = list(paper_tables().values()) if name == ALL_TABLES else [paper_table(name)]
    parts = []
    for part in (part for table in tables for part in table.parts):
        recipes = tuple(row.variation for row in part.rows)
        test_on = () if part.tested_on == part.trained_on else (part.tested_on,)
        # False instead of None: the table decides whether to include normal images.
        parts.append(
            SuitePart(
                data=part.trained_on,
                recipes=recipes,
                normal=part.include_normal,
                test_on=test_on,
                protocol=part.protocol,
            )
        )
    return Suite(parts=tuple(parts))


def find_suite(name: str) -> Suite:
    """The suite of a table or of a YAML file; raises SettingError for other names, or with the file and the key."""
    path, tables = Path(name), (*paper_tables(), ALL_TABLES)
    if path.suffix.lower() not in (".yaml", ".yml") and not path.is_file():
        if name not in tables:
            listing = f"{', '.join(tables)}; a YAML file; a recipe, e.g. unet or short-unet; or FILE.py:CLASS"
            raise unknown_name("table, recipe or file", name, (*tables, *list_rows(), *list_recipes()), listing, near=1)
        return table_suite(name)
    raw = read_yaml(path, SettingError, "Give a YAML file as in docs/compare/many-networks.md.")
    try:
        suite = Suite.model_validate(raw)
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise SettingError(f"{path} is not valid: {details}.") from error
    files = [recipe for part in suite.parts for recipe in part.recipes if names_file(recipe)]
    if files:
        raise SettingError(
            f"{path} names '{files[0]}', whose code would be executed. Give it as an argument of the command."
        )
    return suite


def names_recipe(name: str) -> bool:
    """Whether `name` is FILE.py:CLASS, or a recipe with or without its scale."""
    return names_file(name) or name in list_rows() or name in list_recipes()


def recipe_suite(name: str, data: str, scale: str) -> Suite:
    """The suite of one recipe or own network on the data set `data`; several data sets are joined by +."""
    return Suite(parts=(SuitePart(data=data, recipes=(name,)),), scale=scale)


def vary_suite(suite: Suite, **changes: Any) -> Suite:
    """`suite` with the `changes` that are not None; `set` is added to that of the suite. Raises SettingError."""
    given = {key: value for key, value in changes.items() if value is not None}
    given["set"] = {**suite.set, **given.get("set", {})}
    protocols = given.get("protocols") or ()
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise unknown_name("fold protocol", unknown[0], PROTOCOLS)
    if (scale := given.get("scale", suite.scale)) not in SCALES:
        raise unknown_name("scale", scale, tuple(SCALES))
    return Suite.model_validate({**suite.model_dump(), **given})
