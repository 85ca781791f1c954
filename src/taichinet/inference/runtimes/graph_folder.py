"""Where `taichinet export` stores graphs: beside the weights, or in the cache folder for weights in the package.

An installed package must not be changed, and its folder may be read-only.
"""

from __future__ import annotations

from pathlib import Path

from taichinet.inference.runtimes.parity import PACKAGED_GRAPH
from taichinet.inference.runtimes.user_record import cache_folder
from taichinet.models.weights_folder import PACKAGED

RUNTIMES_FOLDER = "runtimes"
"""Folder for network graphs and their parity records."""


def graph_file(weights: Path, name: str) -> Path:
    """The file of a graph.

    Args:
        weights: A weights folder.
        name: PACKAGED_GRAPH, which is beside the weights, or a path that begins with RUNTIMES_FOLDER.
    """
    packaged = weights.resolve().parent == PACKAGED.resolve() and name != PACKAGED_GRAPH
    return (cache_folder() / "weights" / weights.resolve().name if packaged else weights) / name


def graph_folder(weights: Path) -> Path:
    """The folder in which `taichinet export` stores the graphs of `weights`; it may be absent."""
    return graph_file(weights, RUNTIMES_FOLDER)
