"""SHA-256 digests of files, bytes and named tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # not at run time: digests of files do not require torch, which is slow to import
    from torch import Tensor


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Traversable) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits. The file is read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def digest_json(value: Any) -> str:
    """The SHA-256 of `value` as JSON with sorted keys, 64 hexadecimal digits; values unknown to JSON as their text."""
    return digest_bytes(json.dumps(value, sort_keys=True, default=str).encode())


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values of `tensors`, independent of order and memory layout."""
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
