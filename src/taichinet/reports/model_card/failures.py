"""The section on failures: cases that were looked at and assigned to classes by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from taichinet.errors import DataError
from taichinet.reports.document.format import number
from taichinet.reports.document.model import Note, Section, table_of
from taichinet.storage.csv_cells import unescape_cell

COLUMNS = ("key", "class", "remark")


def read_failures(path: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Read a table of failures.

    Args:
        path: A CSV file with the columns `COLUMNS`; one row per image, in UTF-8.
        scores: Per-image scores of the test images.

    Returns:
        The table, with the score "dice_native" of each image.

    Raises:
        DataError: The file cannot be read, lacks a column or a class, or has an image that was not tested or is listed
            twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Give a CSV file with {', '.join(COLUMNS)}.") from error
    if absent := [column for column in COLUMNS if column not in table]:
        raise DataError(f"{path} has no column {', '.join(absent)}. Its first line must be {','.join(COLUMNS)}.")
    table = table[list(COLUMNS)].map(unescape_cell).map(str.strip)
    dice = scores.set_index("key")["dice_native"].fillna(0.0)
    faults = [f"{key}: not a test image" for key in table["key"] if key not in dice.index]
    faults += [f"{key}: more than one row" for key in table.loc[table["key"].duplicated(), "key"]]
    faults += [f"{key}: no class" for key in table.loc[table["class"] == "", "key"]]
    if faults or table.empty:
        raise DataError(f"{path} needs one row with a class for each image, with keys of scores.csv. Correct:", faults)
    return table.assign(dice_native=table["key"].map(dice))


def failure_section(failures: pd.DataFrame) -> Section:
    """The classes of `read_failures` with their number of cases and remarks, the most frequent first."""
    note = Note(
        "Test images with a low score, which were looked at and assigned to classes by hand: "
        f"{len(failures)} in total. The Dice is the mean at original resolution."
    )
    groups = sorted(failures.groupby("class", sort=False), key=lambda group: -len(group[1]))
    rows = [
        {
            "Class": str(name),
            "Remarks": "; ".join(dict.fromkeys(filter(None, cases["remark"]))),
            "Cases": str(len(cases)),
            "Dice": number(float(cases["dice_native"].mean()), 3),
        }
        for name, cases in groups
    ]
    return Section("failures", "Failures", (note, table_of(rows, words=2)))
