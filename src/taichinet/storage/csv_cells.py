"""Escaping of text in CSV files that a spreadsheet program would execute as a formula."""

from __future__ import annotations

import re
from typing import Any

# Also after apostrophes, so that escaping twice is undone by unescaping twice.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def escape_cell(value: Any) -> Any:
    """Escape a CSV cell that a spreadsheet program would interpret as a formula.

    Args:
        value: The content of one cell. Numbers, also negative ones, and None are returned unchanged.

    Returns:
        Text that begins with `=`, `+`, `-`, `@`, a tab or a line break, also after apostrophes, is prefixed with an
        apostrophe; other values are unchanged. `unescape_cell` is the inverse.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def unescape_cell(value: Any) -> Any:
    """Undo `escape_cell`.

    Args:
        value: The content of one cell as read from a CSV file.

    Returns:
        Text without the apostrophe that `escape_cell` added; other values are unchanged.
    """
    return value[1:] if isinstance(value, str) and value.startswith("'") and _FORMULA.match(value) else value
