"""Tables beside the images: the rows of a .csv or .xlsx file, and the class of each image by its name."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from io import BytesIO, StringIO
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from taichinet.datasets.archive import document_sizes
from taichinet.datasets.readers.layout import IMAGE_SUFFIXES
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError
from taichinet.storage.documents import shortened

LARGEST_TABLE = 2**24
"""Bytes of a table's file."""
MOST_ROWS, MOST_COLUMNS = 20_000, 256
"""A table within both limits takes less than 1 GiB of memory."""
_CELLS_OF_XLSX = ("xl/worksheets/", "xl/sharedstrings.xml")
_LARGEST_CELLS, _LARGEST_PART = 5 * 2**19, 2**18
"""Decompressed bytes of an .xlsx: of all members with cells, of which openpyxl reads 0.4 MiB/s or more; and of each
other member, of which it reads 0.06 MiB/s or more."""
_Cell = TypeVar("_Cell")


class _TooLargeError(DataError):
    """A table beyond a limit."""


@dataclass(frozen=True)
class ClassTable:
    """A table with the class of each image; `classes` are its values, in lower case, and our labels for them.

    `name` is that of its file, in the folder of the data set.
    """

    name: str
    image_column: str
    class_column: str
    classes: Mapping[str, str]


def read_rows(file: Traversable, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read the rows of a table.

    Args:
        file: A .csv file (comma or semicolon, UTF-8), or an .xlsx file, of which the first sheet is read.
        columns: Columns that must be present.

    Returns:
        Rows by the names in the first row. Cells are text without surrounding blanks, "" if empty; integers have no
        decimals ("1", not "1.0"). Empty rows and columns without a name are ignored.

    Raises:
        DataError: The file cannot be read or exceeds `LARGEST_TABLE`, `MOST_ROWS` or `MOST_COLUMNS`, a row is longer
            than the first, a name occurs twice, or one of `columns` is missing.
    """
    cells = _sheet(file) if file.name.lower().endswith(".xlsx") else _csv(file)
    if not cells:
        raise DataError(f"{file}: this table is empty; copy it again from the original.")
    names = cells[0]
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(f"{file}: column '{shortened(name)}' occurs twice. Keep one of them.")
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataError(
            f"{file}: has no column '{missing[0]}', only "
            f"{shortened(', '.join(filter(None, names))) or 'unnamed ones'}. Name it so in the first row."
        )
    for row in cells[1:]:
        if any(row[len(names) :]):
            raise DataError(
                f"{file}: the row of '{shortened(row[0])}' has more cells than the first row has columns. Put quotes "
                "around a text with the separator in it."
            )
    return [
        {name: row[i] if i < len(row) else "" for i, name in enumerate(names) if name} for row in cells[1:] if any(row)
    ]


def read_column_names(file: Traversable) -> list[str]:
    """The names in the first row of a .csv file; none if it cannot be read, which `read_rows` explains."""
    try:
        with file.open("rb") as stream:
            first = stream.readline(_LARGEST_PART).decode("utf-8-sig")
        rows = list(csv.reader(StringIO(first), delimiter=_separator(first)))
    except (OSError, UnicodeDecodeError, csv.Error, DataError):
        return []
    return [name.strip() for name in rows[0]] if rows else []


def with_classes(
    samples: Sequence[Sample], folder: Traversable, table: ClassTable, problems: list[str]
) -> list[Sample]:
    """Label samples with the classes of a table, matched by `image_key`.

    Args:
        samples: The samples.
        folder: The folder with the table.
        table: The table.
        problems: Receives faults of the table, images without a row, and rows without an image.

    Returns:
        The samples; those without a row keep their label.
    """
    file = folder / table.name
    try:
        labels = _classes(file, table)
    except DataError as fault:
        problems.append(str(fault))
        return list(samples)
    keys = [image_key(sample.key) for sample in samples]
    problems += [
        f"{sample.image}: has no row in {table.name}."
        for sample, key in zip(samples, keys, strict=True)
        if key not in labels
    ]
    present = set(keys)
    problems += [f"{file}: image '{key}' of this table is not there." for key in labels if key not in present]
    return [replace(sample, label=labels.get(key, sample.label)) for sample, key in zip(samples, keys, strict=True)]


def image_key(name: str) -> str:
    """The name of an image without leading zeros and suffix: "1" of "1", of "000001" and of "1.PNG"."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or f".{suffix.lower()}" not in IMAGE_SUFFIXES:
        stem = name
    return stem.lstrip("0") or stem[-1:]


def _classes(file: Traversable, table: ClassTable) -> dict[str, str]:
    """The label of each image by its key; rows without an image (e.g. a sum) are ignored."""
    labels: dict[str, str] = {}
    for row in read_rows(file, (table.image_column, table.class_column)):
        name, value = row[table.image_column], row[table.class_column]
        if not name:
            continue
        label = table.classes.get(value.lower())
        if label is None:
            raise DataError(
                f"{file}: column '{table.class_column}' says '{value}' of image '{name}'. "
                f"Known: {', '.join(table.classes)}."
            )
        if labels.setdefault(image_key(name), label) != label:
            raise DataError(
                f"{file}: column '{table.class_column}' says '{value}' of image '{name}', and another class in a "
                "row above. Keep the right one."
            )
    return labels


def _read(file: Traversable) -> bytes:
    """The bytes of a table's file, within `LARGEST_TABLE`."""
    try:
        size = file.stat().st_size if isinstance(file, Path) else 0
        content = file.read_bytes() if size <= LARGEST_TABLE else b""
    except OSError as fault:
        raise DataError(f"{file}: cannot be read ({fault}); check that it is there, whole, and yours.") from fault
    if (size := max(size, len(content))) > LARGEST_TABLE:
        raise DataError(
            f"{file}: has {size / 2**20:.1f} MiB, the limit of a table is {LARGEST_TABLE // 2**20} MiB; keep only the "
            "rows and columns of this data set."
        )
    return content


def _within_limits(rows: Iterable[Sequence[_Cell]], file: Traversable) -> list[Sequence[_Cell]]:
    """`rows` as a list; raises DataError at the first row or column beyond the limits, without reading further."""
    read: list[Sequence[_Cell]] = []
    for row in rows:
        if len(read) >= MOST_ROWS or len(row) > MOST_COLUMNS:
            raise _TooLargeError(
                f"{file}: this table reaches row {len(read) + 1} and column {len(row)}, the limits are {MOST_ROWS} "
                f"rows and {MOST_COLUMNS} columns; delete the cells beyond the data, or save these as .csv."
            )
        read.append(row)
    return read


def _csv(file: Traversable) -> list[list[str]]:
    """The cells of a .csv; the separator is the sign that the first line has more of."""
    try:
        text = _read(file).decode("utf-8-sig")  # with or without the mark that spreadsheets write
    except UnicodeDecodeError as fault:
        raise DataError(f"{file}: is no UTF-8 text ({fault}); save it as UTF-8.") from fault
    first = text.partition("\n")[0]
    reader = csv.reader(StringIO(text), delimiter=_separator(first), strict=True)
    try:
        rows = _within_limits(reader, file)
    except csv.Error as fault:
        raise DataError(f"{file}: is no table of comma-separated values ({fault}); save it again.") from fault
    return [[cell.strip() for cell in row] for row in rows]


def _separator(first: str) -> str:
    """The separator of a .csv with this first line."""
    return ";" if first.count(";") > first.count(",") else ","


def _sheet(file: Traversable) -> list[list[str]]:
    """The cells of the first sheet of an .xlsx, formulas by their stored values."""
    content = _read(file)
    try:
        from openpyxl import load_workbook  # here, since few data sets have such a table
    except ImportError as missing:
        raise DataError(
            f"{file}: reading .xlsx needs the package openpyxl: pip install 'taichinet[xlsx]', or save it as .csv."
        ) from missing
    try:
        _refuse_slow(document_sizes(content), file)
        # Read-only: rows are read one by one. The declared size of the sheet is ignored.
        sheet = load_workbook(BytesIO(content), read_only=True, data_only=True, keep_links=False).worksheets[0]
        sheet.reset_dimensions()
        rows = _within_limits(map(_row_values, count(1), sheet.iter_rows()), file)
    except _TooLargeError:
        raise
    except Exception as fault:  # openpyxl passes on all exceptions of zipfile and the XML parser
        raise DataError(f"{file}: cannot be read as .xlsx ({fault}); copy it again, or save it as .csv.") from fault
    cells = [[_text(value) for value in row] for row in rows]
    if cells:  # a column without a name may have cells
        cells[0] += [""] * (max(map(len, cells)) - len(cells[0]))
    return cells


def _refuse_slow(sizes: Mapping[str, int], file: Traversable) -> None:
    """Raise if the members of an .xlsx would take openpyxl more than some seconds."""
    cells = sum(size for name, size in sizes.items() if name.lower().startswith(_CELLS_OF_XLSX))
    others = max((size for name, size in sizes.items() if not name.lower().startswith(_CELLS_OF_XLSX)), default=0)
    for what, size, limit in (("cells", cells, _LARGEST_CELLS), ("styles or images", others, _LARGEST_PART)):
        if size > limit:
            raise _TooLargeError(
                f"{file}: its {what} are {size / 2**20:.2f} MiB decompressed, the limit is {limit / 2**20:g} MiB; save "
                "the first sheet as .csv."
            )


def _row_values(number: int, row: Sequence[Any]) -> list[object]:
    """The values of row `number` up to its last filled cell; openpyxl does not compare a cell's row with its own."""
    filled = [at for at, cell in enumerate(row) if cell.value is not None]
    if wrong := [row[at].row for at in filled if row[at].row != number]:
        raise ValueError(f"row {number} holds a cell of row {wrong[0]}")
    return [cell.value for cell in row[: filled[-1] + 1 if filled else 0]]


def _text(value: object) -> str:
    """A cell as text; 1.0 becomes "1"."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
