"""Writes safetensors files; failures of the library become StorageError."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from taichinet.errors import StorageError
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
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with replacing(path) as temporary:
            save_file(dict(tensors), temporary)
    except (SafetensorError, RuntimeError) as error:  # a full disk is one of these, not an OSError
        raise StorageError(
            f"Cannot write {path} ({error}). Free disk space or check permissions; an earlier file is unchanged."
        ) from error
