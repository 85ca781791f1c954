"""Output folder of `taichinet predict`: maps of every image, table of all images, and journal of completed images."""

from __future__ import annotations

import csv
import json
import os
import re
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from taichinet.errors import DataError, StorageError
from taichinet.runner import has_mark, png_bytes, unique_names
from taichinet.storage import output_folder as storage
from taichinet.storage.atomic import TEMPORARY_SUFFIX, final_name, write_bytes, write_json, write_text
from taichinet.storage.csv_cells import escape_cell
from taichinet.storage.digest import digest_bytes, digest_file

if TYPE_CHECKING:  # not at run time: an unusable folder is reported without waiting for the import of torch
    from taichinet.inference.predictor import MaskPrediction

TABLE = "predictions"
OUTPUTS = ("mask", "probability", "disagreement")

JOURNAL = "predictions.partial.jsonl"
"""Name of the journal, to resume after a crash. It is deleted when all images are completed."""

COMPRESSION = 4  # of 9; zlib's default of 6 takes twice the time for files that are 10 % smaller

_SOFTWARE = ("Software", "taichinet predict")  # a text chunk of every PNG written here
_OWN_FILE = re.compile(r".+_(mask|probability|disagreement)\.png|predictions\..+", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One row of predictions.csv and predictions.json. Missing values are None (empty in the CSV file).

    Attributes:
        file: Path of the image.
        name: NAME of the output files NAME_mask.png etc.; with subfolders, a relative path with `/`.
        status: "done" or "failed".
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        lesion_pixels: Area of the mask in pixels.
        area_share: Area of the mask as a fraction of the image.
        components: Number of connected components of the mask.
        box_top: First row of the bounding box of the mask; None for an empty mask, as for the other sides.
        box_left: First column of the bounding box.
        box_bottom: Last row of the bounding box plus 1.
        box_right: Last column of the bounding box plus 1.
        max_probability: Maximum probability of lesion, in [0, 1].
        mean_disagreement: Mean disagreement of the two paths, in [0, 1].
        seconds: Time for reading, network and writing.
        error: Reason of a failure.
        device: Device of the network: cpu, cuda:N or mps.
        presence: Presence score, in [0, 1].
        presence_threshold: Presence score below which the mask is empty; 0: never.
    """

    file: str
    name: str
    status: str
    height: int | None = None
    width: int | None = None
    lesion_pixels: int | None = None
    area_share: float | None = None
    components: int | None = None
    box_top: int | None = None
    box_left: int | None = None
    box_bottom: int | None = None
    box_right: int | None = None
    max_probability: float | None = None
    mean_disagreement: float | None = None
    seconds: float | None = None
    error: str | None = None
    device: str | None = None
    presence: float | None = None
    presence_threshold: float | None = None


_COLUMNS = [field.name for field in fields(Row)]
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
        # Tables of earlier versions have no presence, or no device either.
        return header in (_COLUMNS, _COLUMNS[:-2], _COLUMNS[:-3])


def remove_earlier_run(output: Path, names: Mapping[Path, str], images_to_keep: Container[str]) -> int:
    """Remove output files of an earlier run that this run does not keep.

    Removes the table, the maps of all images that are not in `images_to_keep`, and temporary files. If this run is
    killed, the folder therefore has no table that does not match the maps.

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


def write_maps(result: MaskPrediction, files: Mapping[str, Path]) -> dict[str, str]:
    """Write the maps of a prediction as 8-bit grey PNG files, in which 255 is 1.

    Args:
        result: The prediction.
        files: Path of each of OUTPUTS.

    Returns:
        Digest of each written file.

    Raises:
        StorageError: A file cannot be written.
    """
    maps = {"mask": result.mask, "probability": result.probability, "disagreement": result.disagreement}
    written = {}
    for kind, values in maps.items():
        if values is not None:
            content = png_bytes(np.round(values * np.float32(255)).astype(np.uint8), _SOFTWARE, COMPRESSION)
            write_bytes(files[kind], content)
            written[kind] = digest_bytes(content)
    return written


def write_prediction(result: MaskPrediction, folder: Path) -> tuple[Path, ...]:
    """Write the maps, overlay and measurements of one prediction; see `MaskPrediction.save`."""
    files = {kind: Path(path.name) for kind, path in output_files(folder, result.name).items()}
    table, picture = f"{result.name}.json", f"{result.name}_overlay.png"
    storage.refuse_foreign_files(folder, [*(path.name for path in files.values()), table, picture])
    with storage.output_files(folder) as temporary:
        write_maps(result, {kind: temporary / name for kind, name in files.items()})
        if result.pixels is not None:
            write_bytes(temporary / picture, png_bytes(np.asarray(result.overlay()), _SOFTWARE, COMPRESSION))
        write_json(temporary / table, result.measurements())
        names = sorted(path.name for path in temporary.iterdir())
    return tuple(folder / name for name in names)


def rows_as_json(rows: Sequence[Row]) -> str:
    """The rows in the format of predictions.json."""
    plain: list[dict[str, Any]] = [asdict(row) for row in rows]
    return json.dumps(plain, indent=1, allow_nan=False)


def write_table(rows: Sequence[Row], output: Path) -> None:
    """Write predictions.csv and predictions.json to `output`.

    Text that a spreadsheet would interpret as a formula is escaped in the CSV (`escape_cell`), but not in the JSON.

    Raises:
        StorageError: A file cannot be written.
    """
    write_text(output / f"{TABLE}.json", rows_as_json(rows) + "\n")
    stream = StringIO(newline="")
    table = csv.DictWriter(stream, _COLUMNS)
    table.writeheader()
    table.writerows({key: escape_cell(value) for key, value in asdict(row).items()} for row in rows)
    # File names that are not valid Unicode are written with escapes.
    write_bytes(output / f"{TABLE}.csv", stream.getvalue().encode("utf-8", "backslashreplace"))


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
