"""Output folder of `taichinet predict`: maps and overlays, table and page of all images, and journal of a run."""

from __future__ import annotations

import csv
import json
import os
import re
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from taichinet.errors import DataError, StorageError
from taichinet.inference.contact_sheet import PAGE, is_own_page, page_html
from taichinet.inference.overlay import draw, viewable
from taichinet.inference.rows import Provenance, Row, table_row
from taichinet.runner import has_mark, png_bytes, unique_names
from taichinet.storage import output_folder as storage
from taichinet.storage.atomic import TEMPORARY_SUFFIX, final_name, write_bytes, write_json, write_text
from taichinet.storage.csv_cells import escape_cell
from taichinet.storage.digest import digest_bytes, digest_file

if TYPE_CHECKING:  # not at run time: an unusable folder is reported without waiting for the import of torch
    from taichinet.inference.predictor import MaskPrediction

TABLE = "predictions"
OUTPUTS = ("mask", "probability", "disagreement", "overlay")

JOURNAL = "predictions.partial.jsonl"
"""Name of the journal, to resume after a crash. It is deleted when all images are completed."""

COMPRESSION = 4  # of 9; zlib's default of 6 takes twice the time for files that are 10 % smaller
_OVERLAY_COMPRESSION = 1  # of a colour image; 4 takes 1.5 times the time for files of about the same size

_SOFTWARE = ("Software", "taichinet predict")  # a text chunk of every PNG written here
_OWN_FILE = re.compile(r".+_(mask|probability|disagreement|overlay)\.png|predictions\..+|index\.html", re.DOTALL)


_COLUMNS = [field.name for field in (*fields(Row), *fields(Provenance))]
_MAX_HEADER = 1000


def output_names(relative_paths: Mapping[Path, Path]) -> dict[Path, str]:
    """Choose the NAME of the output files of every image, see `runner.unique_names`.

    Args:
        relative_paths: Path of each image relative to the input folder, or its file name.

    Returns:
        A unique name for each image: its relative path with `/`, without the suffix.
    """
    return unique_names([(image, (path.parent / path.stem).as_posix()) for image, path in relative_paths.items()])


def output_files(output: Path, name: str) -> dict[str, Path]:
    """Path of each of OUTPUTS for the image `name`."""
    return {kind: output / f"{name}_{kind}.png" for kind in OUTPUTS}


def make_output_folder(output: Path) -> None:
    """Create `output`.

    Raises:
        DataError: The folder cannot be created or read.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        next(output.iterdir(), None)
    except OSError as fault:
        raise DataError(f"The output folder {output} cannot be used ({fault}). Choose another with -o.") from fault


def refuse_foreign_files(output: Path, names: Mapping[Path, str]) -> None:
    """Check that no input and no file from another source, such as the masks of a data set, would be overwritten.

    Args:
        output: Output folder.
        names: Name of the outputs of each image file.

    Raises:
        DataError: Such files exist. The error lists all of them.
    """
    inputs = {os.path.realpath(image) for image in names}
    foreign = [
        str(path)
        for name in names.values()
        for path in output_files(output, name).values()
        if os.path.lexists(path) and (os.path.realpath(path) in inputs or not has_mark(path, _SOFTWARE))
    ]
    if not _is_table(output / f"{TABLE}.csv"):
        foreign.append(str(output / f"{TABLE}.csv"))
    if os.path.lexists(output / PAGE) and not is_own_page(output / PAGE):
        foreign.append(str(output / PAGE))
    if foreign:
        raise DataError(
            f"{len(foreign)} files in {output} that are inputs, or not written by taichinet, would be "
            "overwritten. Choose another folder with -o:",
            foreign,
        )


def _is_table(path: Path) -> bool:
    """Whether `path` does not exist or has the header of a table written by `write_table`."""
    if not os.path.lexists(path):
        return True
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        header = stream.readline(_MAX_HEADER).strip().split(",")
        # Tables of earlier versions have no provenance, or no presence or device either.
        earlier = [field.name for field in fields(Row)]
        return header in (_COLUMNS, earlier, earlier[:-2], earlier[:-3])


def remove_earlier_run(output: Path, names: Mapping[Path, str], images_to_keep: Container[str]) -> int:
    """Remove output files of an earlier run that this run does not keep.

    Removes table and page, the maps and overlays of all images that are not in `images_to_keep`, and temporary files.
    If this run is killed, the folder therefore has no table that does not match the maps.

    Args:
        output: Output folder.
        names: Name of the outputs of each image file of this run.
        images_to_keep: Paths of the images whose maps are kept.

    Returns:
        Number of images of the earlier table that are not in this run and whose maps are not removed.
    """
    others = {name for name in _listed(output) if output_files(output, name)["mask"].is_file()} - set(names.values())
    for ending in ("csv", "json"):
        (output / f"{TABLE}.{ending}").unlink(missing_ok=True)
    if is_own_page(output / PAGE):
        (output / PAGE).unlink()
    folders = {output}
    for image, name in names.items():
        for path in output_files(output, name).values():
            folders.add(path.parent)
            if str(image) not in images_to_keep:
                with suppress(OSError):  # a file name that is too long is reported when its maps are written
                    path.unlink(missing_ok=True)
    for folder in folders:
        for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if _OWN_FILE.fullmatch(final_name(path) or ""):  # left by a killed run
                path.unlink(missing_ok=True)
    return len(others)


def _listed(output: Path) -> set[str]:
    """Names in the table of an earlier run; empty if there is none."""
    try:
        return {row["name"] for row in json.loads((output / f"{TABLE}.json").read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()


def write_maps(result: MaskPrediction, files: Mapping[str, Path], shown: Image.Image | None = None) -> dict[str, str]:
    """Write the maps of a prediction as 8-bit grey PNG files, in which 255 is 1, and the overlay in colour.

    Args:
        result: The prediction.
        files: Path of each of OUTPUTS.
        shown: The image, see `overlay.viewable`; None for no overlay.

    Returns:
        Digest of each written file.

    Raises:
        StorageError: A file cannot be written.
    """
    maps = {"mask": result.mask, "probability": result.probability, "disagreement": result.disagreement}
    contents = {
        kind: png_bytes(np.round(values * np.float32(255)).astype(np.uint8), _SOFTWARE, COMPRESSION)
        for kind, values in maps.items()
        if values is not None
    }
    if shown is not None:
        box = result.bounding_box
        sides = None if box is None else (box.top, box.left, box.bottom, box.right)
        contents["overlay"] = png_bytes(np.asarray(draw(shown, result.mask, sides)), _SOFTWARE, _OVERLAY_COMPRESSION)
    for kind, content in contents.items():
        write_bytes(files[kind], content)
    return {kind: digest_bytes(content) for kind, content in contents.items()}


def write_prediction(result: MaskPrediction, folder: Path) -> tuple[Path, ...]:
    """Write the maps, overlay and measurements of one prediction; see `MaskPrediction.save`."""
    names = {kind: path.name for kind, path in output_files(folder, result.name).items()}
    table = f"{result.name}.json"
    storage.refuse_foreign_files(folder, [*names.values(), table])
    with storage.output_files(folder) as temporary:
        files = {kind: temporary / name for kind, name in names.items()}
        write_maps(result, files, None if result.pixels is None else viewable(result.pixels))
        write_json(temporary / table, result.measurements())
        written = sorted(path.name for path in temporary.iterdir())
    return tuple(folder / name for name in written)


def rows_as_json(rows: Sequence[Row], provenance: Provenance) -> str:
    """The rows in the format of predictions.json."""
    return json.dumps([table_row(row, provenance) for row in rows], indent=1, allow_nan=False)


def write_table(rows: Sequence[Row], output: Path, provenance: Provenance) -> None:
    """Write predictions.csv and predictions.json to `output`.

    Text that a spreadsheet would interpret as a formula is escaped in the CSV (`escape_cell`), but not in the JSON.

    Raises:
        StorageError: A file cannot be written.
    """
    write_text(output / f"{TABLE}.json", rows_as_json(rows, provenance) + "\n")
    stream = StringIO(newline="")
    table = csv.DictWriter(stream, _COLUMNS)
    table.writeheader()
    table.writerows({key: escape_cell(value) for key, value in table_row(row, provenance).items()} for row in rows)
    # File names that are not valid Unicode are written with escapes.
    write_bytes(output / f"{TABLE}.csv", stream.getvalue().encode("utf-8", "backslashreplace"))


def write_page(rows: Sequence[Row], output: Path, provenance: Provenance) -> None:
    """Write the page with the overlays of all images, see `contact_sheet.page_html`; raises StorageError."""
    write_text(output / PAGE, page_html(rows, provenance, TABLE))


class Journal:
    """Completed rows, in memory and in a JSON Lines file to which each row is appended.

    The first line has the digest of weights and settings. Each other line has a row, the digest of the image file and
    the digests of its maps.
    """

    def __init__(self, output: Path, settings: str, names: Mapping[Path, str]) -> None:
        """Open the journal in `output` and keep the rows of an earlier run that are still valid.

        Args:
            output: The output folder.
            settings: Digest of all inputs that determine the result, except the image.
            names: Name of the outputs of each image file.

        Raises:
            StorageError: The journal cannot be written.
        """
        self.path = output / JOURNAL
        self._lock = threading.Lock()
        valid = [entry for entry in _entries(self.path, settings) if _is_valid(entry, output, names)]
        self.rows = {row.file: row for row in (Row(**entry["row"]) for entry in valid)}
        write_text(self.path, "".join(f"{json.dumps(line)}\n" for line in ({"settings": settings}, *valid)))
        self._stream = self.path.open("a", encoding="utf-8")

    def add(self, row: Row, image: str, maps: Mapping[str, str]) -> None:
        """Add a completed row, the digest of the image file and the digest of each map file. Thread-safe.

        Raises:
            OSError: The line cannot be written.
        """
        line = json.dumps({"row": asdict(row), "image": image, "maps": dict(maps)})
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()
            self.rows[row.file] = row

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stream.close()
        except OSError as fault:
            raise StorageError(f"Cannot write {self.path} ({fault}). Free disk space.") from fault


def _entries(path: Path, settings: str) -> Iterator[dict[str, Any]]:
    """Entries in `path` if it was written with the same `settings`; truncated lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    parsed = [_parse(line) for line in lines]
    if parsed and parsed[0].get("settings") == settings:
        yield from (entry for entry in parsed[1:] if entry)


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _is_valid(entry: dict[str, Any], output: Path, names: Mapping[Path, str]) -> bool:
    """Whether the digests of image and maps match those of `entry`."""
    try:
        row = Row(**entry["row"])
        files = output_files(output, row.name)
        maps = {kind: digest_file(file) for kind, file in files.items() if file.is_file()}
        return (
            names.get(Path(row.file)) == row.name
            and digest_file(Path(row.file)) == entry["image"]
            and maps == entry["maps"]
        )
    except (OSError, TypeError, KeyError, ValueError):
        return False
