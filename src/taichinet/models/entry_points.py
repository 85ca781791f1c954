"""Names of the networks that installed packages add. Imports no torch, so that they are found quickly."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

ENTRY_POINTS = "taichinet.models"  # group of the entry points by which installed packages add networks


@cache  # reading the metadata of all packages takes 30 ms, and a report looks up hundreds of recipes
def entry_point_names() -> tuple[str, ...]:
    """Names of the networks that installed packages add, without importing them. Read once per process."""
    return tuple(dict.fromkeys(point.name for point in entry_points(group=ENTRY_POINTS)))
