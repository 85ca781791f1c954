"""Suites: which recipes on which data sets, folds, protocols and seeds; a table of the paper, or a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from taichinet.datasets.folds import PROTOCOLS, Protocol
from taichinet.errors import SettingError, unknown_name
from taichinet.experiments.paper import paper_table, paper_tables
from taichinet.experiments.recipes.catalogue import SCALES
from taichinet.settings import Settings
from taichinet.storage.documents import read_yaml

ALL_TABLES = "paper"


class SuitePart(Settings):
    """Recipes on one data set. `test_on` names further data sets on which their networks are scored."""

    data: str = Field(description="name of the training's data set, as `taichinet data list` prints it")
    recipes: tuple[str, ...] = Field(min_length=1, description="names, or what follows the suite's scale: 'unet'")
    normal: bool | None = Field(default=None, description="with normal images; None as the recipe says")
    test_on: tuple[str, ...] = ()
    protocol: Protocol = Field(default="grouped", description="of this part, where the suite has no protocols")
    set: dict[str, Any] = Field(default_factory=dict, description="settings of these recipes, by dotted key")


class Suite(Settings):
    """A grid: every recipe of every part x `protocols` x `seeds` x `folds` (None: all of the plan).

    Without `protocols` each part has its own, which for a table of the paper is that table's.
    """

    parts: tuple[SuitePart, ...] = Field(min_length=1)
    scale: str = "busi"
    folds: tuple[int, ...] | None = None
    protocols: tuple[Protocol, ...] = Field(default=(), description="of every part; empty: each part's own")
    seeds: tuple[int, ...] = Field(default=(), description="of the training; empty: the recipe's own")
    set: dict[str, Any] = Field(default_factory=dict, description="settings of every recipe, by dotted key")

    def protocols_of(self, part: SuitePart) -> tuple[Protocol, ...]:
        """The fold protocols of `part`: the suite's, or its own."""
        return self.protocols or (part.protocol,)


def table_suite(name: str) -> Suite:
    """The grid behind one of the paper's tables, "table1" to "table7", or behind all of them, "paper"."""
    tables = list(paper_tables().values()) if name == ALL_TABLES else [paper_table(name)]
    parts = []
    for part in (part for table in tables for part in table.parts):
        recipes = tuple(row.variation for row in part.rows)
        test_on = () if part.tested_on == part.trained_on else (part.tested_on,)
        # False, not None: without normal images is the table's word, not the recipe's.
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


def read_suite(path: Path) -> Suite:
    """The suite of a YAML file; SettingError names the file, the key and the value."""
    raw = read_yaml(path, SettingError, "Give a YAML file as in docs/cluster.md.")
    try:
        suite = Suite.model_validate(raw)
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise SettingError(f"The suite {path} is not valid: {details}.") from error
    return suite


def find_suite(name: str) -> Suite:
    """A table's suite, or that of a YAML file; SettingError for a name that is neither."""
    if Path(name).suffix.lower() in (".yaml", ".yml") or Path(name).is_file():
        return read_suite(Path(name))
    return table_suite(name)


def vary_suite(suite: Suite, **changes: Any) -> Suite:
    """`suite` with those of `changes` that are not None; `set` adds to the suite's. SettingError for a bad value."""
    kept = {key: value for key, value in changes.items() if value is not None}
    kept["set"] = {**suite.set, **kept.get("set", {})}
    protocols = kept.get("protocols") or ()
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise unknown_name("fold protocol", unknown[0], PROTOCOLS)
    if (scale := kept.get("scale", suite.scale)) not in SCALES:
        raise unknown_name("scale", scale, tuple(SCALES))
    return Suite.model_validate({**suite.model_dump(), **kept})
