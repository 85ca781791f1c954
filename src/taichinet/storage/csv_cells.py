"""Text in CSV files: a cell that a spreadsheet would run as a formula is written so that it stays text."""

from __future__ import annotations

from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def escape_cell(value: Any) -> Any:
    """Return `value` as a CSV cell that no spreadsheet program takes for a formula.

    Args:
        value: The content of one cell. Numbers, also negative ones, and None are returned unchanged.

    Returns:
        Text that begins with `=`, `+`, `-`, `@`, a tab or a line break, with an apostrophe in front; other values as
        they are.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
