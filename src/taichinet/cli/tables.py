"""Tables that are never cut: below the width that a table needs, each row is printed as lines."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_UNLIMITED = 10_000  # characters
_LEAST_WIDTH = 12  # of a column whose cells are wrapped between words


def print_table(table: Table, console: Console) -> None:
    """Print a table. In a file or pipe it is as wide as it needs; a terminal that is too narrow shows lines."""
    if console.is_terminal:
        console.print(fitted(table, console), soft_wrap=False)
    else:
        Console(file=console.file, width=_needed_width(table, console)).print(table)


def fitted(table: Table, console: Console) -> RenderableType:
    """The table if it fits into the width of `console` with its widest column wrapped between words, otherwise lines.

    The lines are "heading: cell" for each cell of a row.
    """
    excess = _needed_width(table, console) - console.width
    if excess <= 0:
        return table
    cells = [[_text(cell) for cell in (column.header, *column.cells)] for column in table.columns]
    widths = [max(cell_len(line) for text in texts for line in text.plain.split("\n")) for texts in cells]
    widest = widths.index(max(widths))
    longest_word = max(cell_len(word) for text in cells[widest] for word in text.plain.split() or [""])
    if widths[widest] - excess < max(longest_word, _LEAST_WIDTH):
        return _lines(table)
    for column in table.columns:
        column.no_wrap = True
    table.columns[widest].no_wrap = False
    table.columns[widest].width = widths[widest] - excess
    return table


def _lines(table: Table) -> Group:
    headings = [" ".join(_text(column.header).plain.split()) for column in table.columns]
    lines = [_text(table.title)] if table.title else []
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        lines.append(Text.assemble((_text(first).plain, "bold")))
        cells = zip(headings[1:], map(_text, others), strict=True)
        lines += [Text.assemble(f"  {heading}: ", cell) for heading, cell in cells if cell.plain.strip()]
    return Group(*lines)


def _needed_width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update_width(_UNLIMITED), table).maximum


def _text(content: object) -> Text:
    return content if isinstance(content, Text) else Text.from_markup(str(content))
