"""Text in CSV files: a cell that a spreadsheet would run as a formula is written so that it stays text."""

from __future__ import annotations

import re
from typing import Any

# Apostrophes before such a sign count too: escaping twice must be undone by undoing it twice.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def escape_cell(value: Any) -> Any:
    """Return `value` as a CSV cell that no spreadsheet program takes for a formula.

    Args:
        value: The content of one cell. Numbers, also negative ones, and None are returned unchanged.

    Returns:
        Text that begins with `=`, `+`, `-`, `@`, a tab or a line break, also after apostrophes, with an apostrophe in
        front; other values as they are. `unescape_cell` undoes it.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def unescape_cell(value: Any) -> Any:
    """Return what `escape_cell` was given.

    Args:
        value: The content of one cell as read from a CSV file.

    Returns:
        Text without the apostrophe that `escape_cell` put in front of it; other values as they are.
    """
    return value[1:] if isinstance(value, str) and value.startswith("'") and _FORMULA.match(value) else value
