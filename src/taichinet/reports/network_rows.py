"""A row of `taichinet models`, and the rows at the default size and channels, which are stored: imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

DEFAULT_SIZE, DEFAULT_CHANNELS = 224, 3
STORED_FILE = "networks.json"  # in this folder: the output of `taichinet models --compute --json`


@dataclass(frozen=True)
class NetworkRow:
    """One network; `source_parameters` and `source_gflops` are those of its source, None without one."""

    name: str
    title: str
    parameters: int
    gflops: float
    source_parameters: int | None
    source_gflops: float | None
    pretrained: str
    paper: str
    confidence: str
    note: str


def stored_rows() -> list[NetworkRow]:
    """The networks of the package at the default size and channels."""
    text = files("taichinet.reports").joinpath(STORED_FILE).read_text(encoding="utf-8")
    return [NetworkRow(**row) for row in json.loads(text)]
