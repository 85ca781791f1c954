"""The only writer of final files: a file is complete under its name, or it is not there.

Content is written to a temporary file in the same folder, flushed to disk, and renamed over the final name. Where
anything fails (a full disk, a missing permission), the temporary file is removed and an earlier file stays untouched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from taichinet.errors import StorageError

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to, and rename it to `path` when the block ends.

    Use it for libraries that write files themselves, such as safetensors or ONNX.

    Args:
        path: The final file. Its folder is created if it does not exist.

    Raises:
        StorageError: The file cannot be written. An earlier file at `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"Cannot write {path} ({error}). Free disk space or check permissions; an earlier file is unchanged."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically; raises StorageError as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8 atomically, with line feeds as given; raises StorageError."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON with a final line feed, atomically; raises StorageError."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
