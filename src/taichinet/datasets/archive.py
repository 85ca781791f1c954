"""Zip archives of data sets: validated when they are opened, and read with limits.

This is the only module that opens an archive. Names, counts and sizes are checked before anything is decompressed, and
every failure to read a member is a DataError that names the member.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from taichinet.errors import DataError

MOST_MEMBERS = 200_000
LARGEST_MEMBER = 2**28
"""Bytes of one decompressed member: more than an image within the limit of pixels needs."""
LONGEST_NAME = 1_000
DEEPEST_NAME = 32

_FAULTS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, KeyError, RuntimeError, ValueError, OverflowError, IndexError),  # NotImplementedError too
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENCRYPTED = 0x1


class Member(zipfile.Path):
    """A file or folder in an archive. Reading raises DataError if the member is damaged or larger than declared."""

    def read_bytes(self) -> bytes:
        """The member's content.

        Raises:
            DataError: The member is missing, damaged, encrypted or larger than `LARGEST_MEMBER`.
        """
        try:
            info = self.root.getinfo(self.at)
            # zipfile decompresses a whole step at once, even if the header declares another size: keep the steps small.
            step = 2**20 if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else 2**12
            content = bytearray()
            with self.root.open(info) as stream:
                while part := stream.read(step):
                    content += part
                    if len(content) > LARGEST_MEMBER:
                        raise DataError(_too_large(str(self), len(content)))
        except _FAULTS as fault:
            raise DataError(
                f"{self}: this member of the zip cannot be read ({_words(fault)}). Download the zip again."
            ) from fault
        if len(content) != info.file_size:
            raise DataError(f"{self}: this member of the zip is cut short. Download the zip again.")
        return bytes(content)

    def read_text(self, *args: Any, **options: Any) -> str:
        """The member's content as text; `encoding` and `errors` as in `bytes.decode`, UTF-8 by default."""
        return self.read_bytes().decode(*args, **options)

    def open(self, mode: str = "r", *args: Any, **options: Any) -> Any:
        """The member's content as a binary stream in memory; only mode "rb" is supported."""
        if mode != "rb":
            raise ValueError("A member of an archive is opened with mode 'rb' only.")
        return BytesIO(self.read_bytes())


def open_archive(path: Path) -> Member:
    """Open the zip at `path` and validate its list of members.

    Args:
        path: An existing file.

    Returns:
        The top folder of the archive.

    Raises:
        DataError: The file is no zip, or a member has an unsafe name, is encrypted, is too large, is compressed in an
            unsupported way, or occurs twice. The message names the member.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _FAULTS as fault:
        kind = "a zip cut short or damaged" if path.suffix.lower() == ".zip" else "neither a folder nor a zip"
        raise DataError(f"{path} is {kind} ({_words(fault)}).") from fault
    try:
        _validate(archive, path)
    except DataError:
        archive.close()
        raise
    return Member(archive)


def document_sizes(content: bytes) -> dict[str, int]:
    """The decompressed size of every member of a zipped document (.xlsx), before a library decompresses it.

    Raises:
        DataError: The document is no zip, or is compressed by a method whose declared sizes cannot be relied on.
    """
    try:
        members = zipfile.ZipFile(BytesIO(content)).infolist()
    except _FAULTS as fault:
        raise DataError(f"cannot be opened ({_words(fault)})") from fault
    for info in members:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"member {info.filename[:100]!r} is compressed by method {info.compress_type}")
    return {info.filename: info.file_size for info in members}


def _validate(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise DataError(f"{path} has {len(members)} members; the limit is {MOST_MEMBERS}. Unpack it and pass a folder.")
    names: set[str] = set()
    for info in members:
        fault = _name_fault(info.filename) or _member_fault(info)
        if info.filename in names:
            fault = "occurs twice"
        names.add(info.filename)
        if fault is not None:
            shown = info.filename if len(info.filename) <= 100 else f"{info.filename[:100]}..."
            raise DataError(
                f"{path}: member {shown!r} {fault}. Remove it from the zip, or unpack the zip and pass the folder."
            )
    for name in names:  # a file that is a folder as well would be read as either
        if not name.endswith("/") and f"{name}/" in names:
            raise DataError(f"{path}: member {name!r} is a file and a folder. Remove one of them from the zip.")


def _name_fault(name: str) -> str | None:
    """What is unsafe about a member's name, or None."""
    if len(name) > LONGEST_NAME:
        return f"has a name of {len(name)} characters; the limit is {LONGEST_NAME}"
    parts = name.removesuffix("/").split("/")
    if len(parts) > DEEPEST_NAME:
        return f"is {len(parts)} folders deep; the limit is {DEEPEST_NAME}"
    if not {"", ".", ".."}.isdisjoint(parts):
        return "has an unsafe name (it begins with '/', or a folder in it is empty, '.' or '..')"
    if any(ord(sign) < 32 for sign in name):
        return "has a control character in its name"
    return None


def _member_fault(info: zipfile.ZipInfo) -> str | None:
    """Why a member could not be read, as far as the archive's directory says, or None."""
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in _METHODS:
        return f"is compressed by method {info.compress_type}, which is not supported"
    if info.file_size > LARGEST_MEMBER:
        return _too_large("it", info.file_size).removeprefix("it ")
    return None


def _too_large(name: str, size: int) -> str:
    return f"{name} has {size / 2**20:.0f} MiB or more; the limit is {LARGEST_MEMBER // 2**20} MiB"


def _words(fault: Exception) -> str:
    return f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
