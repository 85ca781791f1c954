"""A table of a user's own images: image, mask, and optionally the part of the split, the patient and the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from taichinet.datasets.dataset import Reading
from taichinet.datasets.readers.layout import listed_path_fault, listing
from taichinet.datasets.readers.own_layout import IMAGE_FOLDERS, PARTS
from taichinet.datasets.readers.tables import read_column_names, read_rows
from taichinet.datasets.sample import NORMAL_CLASS, Mask, Sample
from taichinet.errors import DataError

COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("image",),
    "mask": ("mask",),
    "split": ("split",),
    "group": ("group", "patient"),
    "label": ("label", "class"),
}
"""The columns and their accepted names, in any capitalisation; all but the first two are optional."""


@dataclass
class _Entry:
    """The rows of one image: their common values, and the masks in order."""

    values: Mapping[str, str]
    masks: list[str] = field(default_factory=list)


def tables_in(folder: Traversable) -> list[Traversable]:
    """The .csv files in `folder` with the columns image and mask."""
    return [
        file
        for file in listing(folder)
        if file.name.lower().endswith(".csv")
        and file.is_file()
        and {"image", "mask"} <= {name.lower() for name in read_column_names(file)}
    ]


def table_of(reading: Reading) -> Traversable | None:
    """The table that the user gave, or the only one in the folder; None if there is none.

    Raises:
        DataError: The folder contains several tables.
    """
    if reading.root.suffix.lower() == ".csv" and reading.root.is_file():
        return reading.root
    tables = tables_in(reading.folder)
    if len(tables) > 1:
        names = ", ".join(file.name for file in tables)
        raise DataError(f"{reading.root} contains several tables with the columns image and mask ({names}). Pass one.")
    return tables[0] if tables else None


def table_samples(file: Traversable, reading: Reading, label: str) -> list[Sample]:
    """The samples of a table, in the order of their first rows.

    Args:
        file: The table. Paths in it are relative to its folder. Rows with the same image add masks, which are united.
            Without a mask, the label must be "normal".
        reading: Its `problems` receive a line for each faulty row.
        label: Class of the images if the table has no column for it.

    Returns:
        One sample per image; the key is the path without ending and without a folder of images, with "-" for "/".

    Raises:
        DataError: The table cannot be read, or a column is missing or occurs twice.
    """
    entries = _entries(file, _rows(file), reading)
    used: dict[str, str] = {}
    for image, entry in entries.items():
        for mask in entry.masks:
            if used.setdefault(mask, image) != image:
                reading.problems.append(
                    f"{file}: mask '{mask}' is listed for '{used[mask]}' and '{image}'. Correct it."
                )
    return [
        Sample(
            key=_key(image),
            label=entry.values.get("label", label),
            image=_inside(reading.folder, image),
            masks=tuple(Mask(_inside(reading.folder, mask)) for mask in entry.masks),
            patient=entry.values.get("group"),
            part=PARTS[entry.values["split"].lower()] if "split" in entry.values else None,
        )
        for image, entry in entries.items()
    ]


def _rows(file: Traversable) -> list[dict[str, str]]:
    """The rows of a table by the names in `COLUMNS`."""
    rows = read_rows(file)
    present = list(rows[0]) if rows else [name for name in read_column_names(file) if name]
    columns: dict[str, str] = {}
    for column, names in COLUMNS.items():
        same = [name for name in present if name.lower() in names]
        if len(same) > 1:
            raise DataError(f"{file}: the columns {' and '.join(same)} mean the same. Keep one of them.")
        if not same and column in ("image", "mask"):
            raise DataError(
                f"{file}: has no column '{column}', only {', '.join(present)}. Name it so in the first row."
            )
        if same:
            columns[column] = same[0]
    return [{column: row[name] for column, name in columns.items()} for row in rows]


def _entries(file: Traversable, rows: Sequence[Mapping[str, str]], reading: Reading) -> dict[str, _Entry]:
    """The valid rows by image; `reading.problems` receives a line for each other row."""
    entries: dict[str, _Entry] = {}
    for row in rows:
        image, mask = row["image"], row["mask"]
        values = {column: value for column, value in row.items() if column not in ("image", "mask")}
        faults = _row_faults(row, reading.folder)
        if not faults and image in entries and entries[image].values != values:
            faults = ["has other values in a row above; give one class, group and split per image"]
        if not faults and image in entries and (not mask or mask in entries[image].masks):
            faults = ["is listed twice with the same mask"]
        if faults:
            reading.problems += [f"{file}: image '{image}': {fault}." for fault in faults]
            continue
        entry = entries.setdefault(image, _Entry(values))
        entry.masks += [mask] if mask else []
    return entries


def _row_faults(row: Mapping[str, str], folder: Traversable) -> list[str]:
    """What is wrong with a row."""
    faults = [
        f"column '{column}' is empty; fill it in each row" for column in row if column != "mask" and not row[column]
    ]
    if faults:
        return faults
    if not row["mask"] and row.get("label") != NORMAL_CLASS:
        faults.append(f"has no mask; give an image without a lesion an empty mask, or the label {NORMAL_CLASS}")
    if "split" in row and row["split"].lower() not in PARTS:
        faults.append(f"split '{row['split']}' is none of {', '.join(PARTS)}")
    for path in filter(None, (row["image"], row["mask"])):
        if (fault := listed_path_fault(path, "table")) is not None:
            faults.append(fault.rstrip("."))
        elif not _inside(folder, path).is_file():
            faults.append(f"'{path}' does not exist in {folder}")
    return faults


def _inside(folder: Traversable, path: str) -> Traversable:
    return folder.joinpath(*PurePosixPath(path).parts)


def _key(image: str) -> str:
    path = PurePosixPath(image).with_suffix("")
    return "-".join([*(name for name in path.parts[:-1] if name.lower() not in IMAGE_FOLDERS), path.name])
