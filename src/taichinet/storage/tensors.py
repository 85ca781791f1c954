"""Writes safetensors files, and finds their tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taichinet.storage.atomic import replacing

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` to `path` in the safetensors format, atomically.

    Args:
        path: The final file.
        tensors: Contiguous tensors by name; their memory must not be shared.

    Raises:
        StorageError: The file cannot be written. An earlier file at `path` is unchanged.
    """
    with replacing(path) as temporary:
        save_tensors(tensors, temporary)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write `tensors` to the new file `path`, with the permissions of other new files.

    safetensors 0.8 creates files that only their owner can read, which would not be of use in a shared folder.
    """
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path)
    path.chmod(mode)


class StoredTensor(NamedTuple):
    """Type (as named by safetensors, e.g. F16), shape, and place of a tensor: `length` bytes from byte `offset`."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Tensors of a valid safetensors file: 8 bytes with the length of the header, the header as JSON, the values."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: StoredTensor(entry["dtype"], tuple(entry["shape"]), 8 + length + begin, end - begin)
        for name, entry in header.items()
        for begin, end in [entry["data_offsets"]]
    }
