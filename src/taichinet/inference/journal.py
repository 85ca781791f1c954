"""Journal of a prediction: the rows of the images that are done, so that a run that was killed can go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from taichinet.errors import StorageError
from taichinet.inference.outputs import Row, output_files
from taichinet.storage.atomic import write_text
from taichinet.storage.digest import digest_file

JOURNAL = "predictions.partial.jsonl"
"""The journal in the output folder. It is deleted when all images are done."""


class Journal:
    """The rows that are done, in memory and in a file that gets one line for each image as soon as it is done.

    A line holds the row, the digest of the image file and the digests of its maps. The first line holds the digest
    of weights and settings.
    """

    def __init__(self, output: Path, settings: str, names: Mapping[Path, str]) -> None:
        """Open the journal in `output`; keep the rows of an earlier run that still hold.

        Args:
            output: The folder of maps and table.
            settings: A digest of everything but the image that decides the result.
            names: The name of the outputs of each image file.

        Raises:
            StorageError: The journal cannot be written.
        """
        self.path = output / JOURNAL
        self._lock = threading.Lock()
        kept = [entry for entry in _entries(self.path, settings) if _holds(entry, output, names)]
        self.rows = {row.file: row for row in (Row(**entry["row"]) for entry in kept)}
        write_text(self.path, "".join(f"{json.dumps(line)}\n" for line in ({"settings": settings}, *kept)))
        self._stream = self.path.open("a", encoding="utf-8")

    def add(self, row: Row, image: str, maps: Mapping[str, str]) -> None:
        """Record the finished `row` with the digest of its image and those of its maps; from any thread.

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
    """The entries in `path` if it was written with `settings`; a line cut short by a kill is passed over."""
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


def _holds(entry: dict[str, Any], output: Path, names: Mapping[Path, str]) -> bool:
    """Whether the image and the maps of `entry` are those that were recorded, byte for byte."""
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
