"""Tables beside the images: the rows of a .csv or .xlsx file."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from io import BytesIO, StringIO

from taichinet.errors import DataError

_UNREADABLE = (OSError, RuntimeError, zipfile.BadZipFile)


def read_rows(file: Traversable, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a .csv (comma or semicolon, UTF-8) or of the first sheet of an .xlsx, by the names in the first row.

    Cells are text without blanks around it, "" where empty; whole numbers have no decimals. Empty rows are passed
    over. DataError where the file cannot be read or one of `columns` is missing.
    """
    cells = _sheet(file) if file.name.lower().endswith(".xlsx") else _csv(file)
    if not cells:
        raise DataError(f"{file}: this table is empty; copy it again from the original.")
    names = cells[0]
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataError(
            f"{file}: has no column '{missing[0]}', only {', '.join(filter(None, names)) or 'unnamed ones'}. "
            "Name it so in the first row."
        )
    return [
        {name: row[i] if i < len(row) else "" for i, name in enumerate(names) if name} for row in cells[1:] if any(row)
    ]


def _csv(file: Traversable) -> list[list[str]]:
    """The cells of a .csv; the separator is the sign that the first line has more of."""
    try:
        text = file.read_bytes().decode("utf-8-sig")  # with or without the mark that spreadsheets write
    except _UNREADABLE as fault:
        raise DataError(f"{file}: cannot be read ({fault}); check that it is there, whole, and yours.") from fault
    except UnicodeDecodeError as fault:
        raise DataError(f"{file}: is no UTF-8 text ({fault}); save it as UTF-8.") from fault
    first = text.partition("\n")[0]
    try:
        rows = list(csv.reader(StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ","))
    except csv.Error as fault:
        raise DataError(f"{file}: is no table of comma-separated values ({fault}); save it anew.") from fault
    return [[cell.strip() for cell in row] for row in rows]


def _sheet(file: Traversable) -> list[list[str]]:
    """The cells of the first sheet of an .xlsx, formulas by their stored values."""
    from openpyxl import load_workbook  # here, for few data sets have such a table

    try:
        book = load_workbook(BytesIO(file.read_bytes()), data_only=True)
        values = list(book.worksheets[0].values)
    except Exception as fault:  # openpyxl lets through whatever the zip and the XML in a damaged file raise
        raise DataError(f"{file}: cannot be read as .xlsx ({fault}); copy it again, or save it as .csv.") from fault
    return [[_text(value) for value in row] for row in values]


def _text(value: object) -> str:
    """A cell as text; a number that a spreadsheet keeps as 1.0 is "1"."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
