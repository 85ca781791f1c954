"""The expected content of a folder beside the content found, for the message about an unknown layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable

from taichinet.datasets.readers.layout import listing

MOST_LINES, MOST_ENTRIES, DEEPEST = 24, 4, 3


def trees_side_by_side(expected: Sequence[str], folder: Traversable) -> str:
    """Two columns of text: what is expected in a folder, and what was found.

    Args:
        expected: The lines of the left column.
        folder: The folder whose content is the right column: some entries of each folder, three levels deep.

    Returns:
        The lines, joined.
    """
    found = list(_lines(folder)) or ["(empty)"]
    if len(found) > MOST_LINES:
        found = [*found[:MOST_LINES], "..."]
    left = ["expected", *(f"  {line}".rstrip() for line in expected)]
    right = ["found", *(f"  {line}" for line in found)]
    height, width = max(len(left), len(right)), max(map(len, left))
    padded = zip(left + [""] * (height - len(left)), right + [""] * (height - len(right)), strict=True)
    return "\n".join(f"  {one:<{width}}  {other}".rstrip() for one, other in padded)


def _lines(folder: Traversable, depth: int = 0) -> Iterator[str]:
    """The first entries of a folder, folders before files, and the number of further ones."""
    entries = sorted(listing(folder), key=lambda entry: not entry.is_dir())
    for entry in entries[:MOST_ENTRIES]:
        below = entry.is_dir()
        yield f"{'  ' * depth}{entry.name}{'/' if below else ''}"
        if below and depth + 1 < DEEPEST:
            yield from _lines(entry, depth + 1)
    if len(entries) > MOST_ENTRIES:
        yield f"{'  ' * depth}... {len(entries) - MOST_ENTRIES} more"
