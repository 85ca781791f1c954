"""Names of the networks that installed packages add. Imports no torch, so that they are found quickly."""

from __future__ import annotations

from importlib.metadata import entry_points

ENTRY_POINTS = "taichinet.models"  # group of the entry points by which installed packages add networks


def entry_point_names() -> tuple[str, ...]:
    """Names of the networks that installed packages add, without importing them."""
    return tuple(dict.fromkeys(point.name for point in entry_points(group=ENTRY_POINTS)))
