"""Atomic writing of all final files: under its name, a file is complete or absent.

Content is written to a temporary file in the same folder, flushed to disk, and renamed to the final name. If anything
fails (a full disk, a missing permission), the temporary file is removed and an earlier file is unchanged.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from taichinet.errors import StorageError

TEMPORARY_SUFFIX = ".tmp"
_TEMPORARY_FILE = re.compile(rf"\.(?P<final>.+)\.[0-9a-f]{{8}}{re.escape(TEMPORARY_SUFFIX)}", re.DOTALL)
# Raised on a failing write by Python, by safetensors, and by torch and OpenVINO.
WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to, and rename it to `path` when the block ends.

    Use it for libraries that write files themselves, such as safetensors or ONNX. The block should do nothing but
    write: the errors that such libraries raise on a full disk become StorageError.

    Args:
        path: The final file. Its folder is created if it does not exist.

    Yields:
        The temporary path. Its suffix is not that of `path`: give the format to libraries that derive it from the name.

    Raises:
        StorageError: The file cannot be written. An earlier file at `path` is unchanged.
    """
    with storage_errors(path):
        target = path.resolve() if path.is_symlink() else path
        if target.exists() and not target.is_file():  # e.g. a folder, /dev/stdout
            raise StorageError(f"Cannot write {path}: it is not a regular file. Give another name.")
        temporary = target.parent / f".{target.name}{_temporary_ending()}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            temporary.replace(target)
        finally:
            _remove(temporary)


@contextmanager
def replacing_all(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder in `folder` to write files to, and move them all to `folder` when the block ends.

    Use it for files that belong together: a failing write changes none of them. They are moved in the order of their
    names.

    Args:
        folder: The final folder. It is created if it does not exist.

    Raises:
        StorageError: A file cannot be written. Earlier files in `folder` are unchanged.
    """
    temporary = folder / _temporary_ending()
    with storage_errors(folder):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            files = sorted(temporary.iterdir())
            for file in files:
                _flush(file)
            for file in files:
                file.replace(folder / file.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder in `folder`, and remove it with its content when the block ends.

    Temporary files of other packages that use `tempfile` are created in it, too. The block may do more than write: only
    an OSError becomes StorageError, unlike in `replacing`.

    Args:
        folder: The folder of an output, which has room for it. If it does not exist, it is created for the block.

    Raises:
        StorageError: A file cannot be written.
    """
    temporary = folder / _temporary_ending()
    before, is_new = tempfile.tempdir, not folder.exists()
    with storage_errors(folder, (OSError,)):
        try:
            temporary.mkdir(parents=True)
            tempfile.tempdir = str(temporary)
            yield temporary
        finally:
            tempfile.tempdir = before
            shutil.rmtree(temporary, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # the block has put something into it
                    folder.rmdir()


@contextmanager
def storage_errors(path: Path, errors: tuple[type[Exception], ...] = WRITE_ERRORS) -> Iterator[None]:
    """Convert `errors`, which a failing write raises, to a StorageError that names `path`."""
    try:
        yield
    except errors as error:
        raise StorageError(
            f"Cannot write {path} ({error}). Free disk space or check permissions; an earlier file is unchanged."
        ) from error


def _temporary_ending() -> str:
    """The end of a new temporary name, which `_TEMPORARY_FILE` expects."""
    return f".{uuid4().hex[:8]}{TEMPORARY_SUFFIX}"


def final_name(temporary: Path) -> str | None:
    """The name that a temporary file of `replacing` was to get; None for any other file."""
    match = _TEMPORARY_FILE.fullmatch(temporary.name)
    return match["final"] if match else None


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


def remove_leftovers(folder: Path, subfolders: bool = True) -> None:
    """Remove the temporary files and folders that a killed process left in `folder`.

    Call it only while holding the lock of `folder`, since those of a running process look the same.

    Args:
        folder: A folder that need not exist.
        subfolders: Whether the lock also protects the subfolders, which are searched as well.
    """
    pattern = f".*{TEMPORARY_SUFFIX}"
    for path in sorted(folder.rglob(pattern) if subfolders else folder.glob(pattern)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):  # e.g. if the folder is a file; the error that led here is the one to report
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
