"""Journal of a prediction: rows of the completed images, to resume after a crash."""

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
"""Name of the journal in the output folder. It is deleted when all images are completed."""


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
        kept = [entry for entry in _entries(self.path, settings) if _holds(entry, output, names)]
        self.rows = {row.file: row for row in (Row(**entry["row"]) for entry in kept)}
        write_text(self.path, "".join(f"{json.dumps(line)}\n" for line in ({"settings": settings}, *kept)))
        self._stream = self.path.open("a", encoding="utf-8")

    def add(self, row: Row, image: str, maps: Mapping[str, str]) -> None:
        """Add a completed row. Thread-safe.

        Args:
            row: The row.
            image: Digest of the image file.
            maps: Digest of each map file.

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


def _holds(entry: dict[str, Any], output: Path, names: Mapping[Path, str]) -> bool:
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
