"""Writes safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
