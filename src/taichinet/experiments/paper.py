"""Tables I to VII of the paper as typed values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from taichinet.datasets.folds import Protocol
from taichinet.errors import unknown_name

SOURCE = "paper_tables.yaml"


@dataclass(frozen=True)
class Column:
    """A score by its name in `evaluation.undefined.SCORES`, of one region, e.g. "cup", or of the lesion (None)."""

    score: str
    region: str | None = None


@dataclass(frozen=True)
class Figure:
    """A mean and its standard deviation over folds, as in the paper."""

    mean: float
    std: float


@dataclass(frozen=True)
class PaperRow:
    """A row. `variation` is the name of the recipe without its scale; `parameters` as in the paper, None if absent."""

    title: str
    variation: str
    figures: tuple[Figure, ...]
    parameters: str | None = None


@dataclass(frozen=True)
class PaperPart:
    """Rows of one table with one training and one test data set, which differ only in the second half of Table V.

    Attributes:
        trained_on: The training data set.
        tested_on: The test data set.
        include_normal: Whether normal images are included.
        columns: Scores; each row has a value for each of them.
        rows: The rows.
        protocol: "official" if the paper uses the split of the authors of the data set, otherwise "grouped".
    """

    trained_on: str
    tested_on: str
    include_normal: bool
    columns: tuple[Column, ...]
    rows: tuple[PaperRow, ...]
    protocol: Protocol = "grouped"


@dataclass(frozen=True)
class PaperTable:
    """One of Tables I to VII."""

    name: str
    caption: str
    parts: tuple[PaperPart, ...]

    @property
    def numeral(self) -> str:
        """Roman numeral of the table."""
        return ("I", "II", "III", "IV", "V", "VI", "VII")[int(self.name.removeprefix("table")) - 1]


@cache
def paper_tables() -> dict[str, PaperTable]:
    """All seven tables by name, "table1" to "table7"."""
    content = yaml.safe_load(files("taichinet.experiments").joinpath(SOURCE).read_text(encoding="utf-8"))
    return {
        name: PaperTable(name, table["caption"], tuple(_part(part) for part in table["parts"]))
        for name, table in content.items()
    }


def paper_table(name: str) -> PaperTable:
    """The table of that name; raises SettingError for unknown names."""
    tables = paper_tables()
    if name not in tables:
        raise unknown_name("table", name, tuple(tables))
    return tables[name]


def _part(raw: dict[str, Any]) -> PaperPart:
    names = [text.partition(" of ") for text in raw["columns"]]
    columns = tuple(Column(score, region or None) for score, _, region in names)
    rows = tuple(_row(row, len(columns)) for row in raw["rows"])
    tested_on = str(raw["data"])
    trained_on, protocol = str(raw.get("trained_on", tested_on)), raw.get("protocol", "grouped")
    return PaperPart(trained_on, tested_on, bool(raw.get("normal", False)), columns, rows, protocol)


def _row(raw: dict[str, Any], columns: int) -> PaperRow:
    figures = tuple(_figure(text) for text in raw["printed"])
    if len(figures) != columns:
        raise ValueError(f"{SOURCE}: row '{raw['title']}' prints {len(figures)} figures for {columns} columns")
    return PaperRow(raw["title"], raw["row"], figures, raw.get("parameters"))


def _figure(text: str) -> Figure:
    match = re.fullmatch(r"(\d\.\d+) ± (\d\.\d+)", text)
    if match is None:
        raise ValueError(f"{SOURCE}: '{text}' is not written as 'mean ± deviation'")
    return Figure(float(match[1]), float(match[2]))
