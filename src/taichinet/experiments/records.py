"""scores.csv and its record in summary.json or result.json: the row count and digest that tie both together."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from taichinet.errors import DataError
from taichinet.evaluation.aggregate import COLUMNS
from taichinet.storage.atomic import write_bytes
from taichinet.storage.csv_cells import escape_cell, unescape_cell
from taichinet.storage.digest import digest_bytes

SCORES_FILE = "scores.csv"
SEPARATORS = {";": "semicolon", "\t": "tab", "|": "vertical bar"}
_TEXT = ("key", "label", "region")


class ScoresRecord(BaseModel):
    """What summary.json and result.json record of their scores.csv under the key "scores"."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: int
    sha256: str


def write_scores(path: Path, scores: pd.DataFrame) -> ScoresRecord:
    """Write per-image scores as CSV, atomically.

    Args:
        path: The scores.csv.
        scores: A row for each image and region, see `COLUMNS`.

    Returns:
        The record for the JSON file beside it.

    Raises:
        StorageError: The file cannot be written.
    """
    content = _each_text(scores, escape_cell).to_csv(index=False).encode()
    write_bytes(path, content)
    return ScoresRecord(rows=len(scores), sha256=digest_bytes(content))


def read_scores(path: Path, record: ScoresRecord | None) -> pd.DataFrame:
    """Read per-image scores and compare them with their record.

    Args:
        path: The scores.csv.
        record: From the JSON file beside it; None for files from before it was recorded, which are not checked.

    Returns:
        A row for each image and region; keys and labels are strings.

    Raises:
        DataError: The file cannot be read, has another separator than a comma, lacks columns, or is not the recorded
            one.
    """
    try:
        content = path.read_bytes()
        types = dict.fromkeys(_TEXT, str)
        rows = pd.read_csv(BytesIO(content), dtype=types, keep_default_na=False, na_values=[""])  # a key may be "NA"
    except (OSError, ValueError) as error:
        raise DataError(f"The scores in {path} cannot be read ({error}). Evaluate the run again.") from error
    _refuse_other_columns(path, rows)
    if record is not None and (len(rows) != record.rows or digest_bytes(content) != record.sha256):
        raise DataError(
            f"{path} has {len(rows)} rows and SHA-256 {digest_bytes(content)[:12]}; when it was written it had "
            f"{record.rows} and {record.sha256[:12]}. Restore the file, or train with --resume or evaluate again, "
            "which rewrites it."
        )
    return _each_text(rows, unescape_cell)


def _each_text(rows: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """`rows` with `change` applied to every cell of the columns of text."""
    return rows.assign(**{column: rows[column].map(change) for column in _TEXT if column in rows})


def _refuse_other_columns(path: Path, rows: pd.DataFrame) -> None:
    missing = [column for column in COLUMNS if column not in rows]
    if not missing:
        return
    header = ",".join(map(str, rows.columns))
    for separator, name in SEPARATORS.items():
        if separator in header:
            raise DataError(
                f"{path} is separated by '{separator}' ({name}), not by commas. Save it as CSV with commas and "
                "decimal points, or evaluate the run again."
            )
    raise DataError(f"{path} lacks the columns {', '.join(missing)}. Evaluate the run again.")
