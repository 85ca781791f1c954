"""Checkpoints: written atomically after every epoch, the one before kept, so that a crash costs one epoch at most."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from taichinet.errors import StorageError, WeightsError
from taichinet.storage.atomic import TEMPORARY_SUFFIX, replacing
from taichinet.storage.digest import digest_bytes, digest_tensors

CURRENT, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"
DIGEST = "digest"


@dataclass(frozen=True)
class Checkpoint:
    """All that the rest of a training depends on, after `epoch` finished epochs.

    Randomness is not in it: every epoch seeds its own generators from (seed, epoch). `identity` is the digest of the
    settings and training keys; a checkpoint of another identity is refused.
    """

    identity: str
    epoch: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    best: dict[str, Any]
    best_dice: float
    best_epoch: int
    history: list[dict[str, Any]]


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `checkpoint` with a digest of its content; the one before is kept as PREVIOUS.

    Args:
        checkpoint: The state after an epoch.
        folder: The run folder, which no other process writes to. Created if it does not exist.

    Raises:
        WeightsError: It cannot be written. The last good checkpoint is unchanged.
    """
    _remove_stumps(folder)
    try:
        with replacing(folder / CURRENT) as temporary:
            _write(checkpoint, temporary)
            if (folder / CURRENT).exists():
                (folder / CURRENT).replace(folder / PREVIOUS)
    except StorageError as error:
        raise WeightsError(
            f"Cannot write the checkpoint of epoch {checkpoint.epoch} into {folder} ({error}). The one before is "
            "intact: make room on the disk and run again with --resume."
        ) from error


def load_checkpoint(folder: Path, *identities: str, change: str = "") -> Checkpoint | None:
    """The newest undamaged checkpoint of one of `identities`, or None where there is none.

    A newest file that is torn, or whose content has another digest than it records, falls back to the one before,
    with a warning. Checkpoints of earlier versions record no digest and are loaded without that check.

    Raises:
        WeightsError: The checkpoint belongs to other settings or data, or both files are damaged. The message says
            `change` of the difference.
    """
    torn: list[str] = []
    for name in (CURRENT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            checkpoint = _read(path)
        except Exception as error:  # noqa: BLE001 - bytes of a torn file make torch.load raise almost anything
            torn.append(f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        if checkpoint.identity not in identities:
            raise WeightsError(
                f"{path} was made with other settings or other training images{change}. Give another --out, or begin "
                "anew with --overwrite instead of --resume."
            )
        if torn:
            # Else the next save would rename the torn file over this good one.
            (folder / CURRENT).unlink(missing_ok=True)
            warnings.warn(f"{folder}: {torn[0]}; going on from {name}, one epoch earlier.", stacklevel=2)
        return checkpoint
    if torn:
        raise WeightsError(f"No checkpoint of {folder} can be read: {'; '.join(torn)}. Begin anew with --overwrite.")
    return None


def rename_checkpoints(folder: Path, identity: str, new_identity: str) -> None:
    """Give every readable checkpoint of `identity` in `folder` the identity `new_identity`.

    Each file is replaced as a whole. A process that is killed in between leaves files of both identities.

    Raises:
        StorageError: A file cannot be written. It is unchanged.
    """
    for name in (CURRENT, PREVIOUS):
        try:
            checkpoint = _read(folder / name)
        except Exception:  # noqa: BLE001, S112 - absent or torn: `load_checkpoint` says so
            continue
        if checkpoint.identity == identity:
            with replacing(folder / name) as temporary:
                _write(replace(checkpoint, identity=new_identity), temporary)


def clear_checkpoints(folder: Path, keep_newest: bool = False) -> None:
    """Remove the checkpoints of a run that begins anew or has ended; with `keep_newest` all but the newest."""
    for name in (PREVIOUS,) if keep_newest else (CURRENT, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
    _remove_stumps(folder)


def _remove_stumps(folder: Path) -> None:
    """What a process that was killed while it wrote has left; the second pattern is of earlier versions."""
    for pattern in (f".{CURRENT}.*{TEMPORARY_SUFFIX}", f"{CURRENT}{TEMPORARY_SUFFIX}"):
        for stump in folder.glob(pattern):
            stump.unlink(missing_ok=True)


def _write(checkpoint: Checkpoint, path: Path) -> None:
    content = vars(checkpoint)
    with path.open("wb") as file:
        torch.save({**content, DIGEST: _digest(content)}, file)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Checkpoint:
    content = torch.load(path, map_location="cpu", weights_only=True)
    recorded = content.pop(DIGEST, None)
    if recorded not in (None, _digest(content)):
        raise ValueError("its content has another digest than it records")
    return Checkpoint(**content)


def _digest(content: Any) -> str:
    """The SHA-256 over all tensors and all other values of nested mappings and lists, with their places."""
    tensors: dict[str, torch.Tensor] = {}
    values: list[tuple[str, str]] = []

    def walk(place: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            tensors[place] = value
        elif isinstance(value, Mapping | list | tuple):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, inner in items:
                walk(f"{place}/{key!r}", inner)
        else:
            values.append((place, repr(value)))

    walk("", content)
    return digest_bytes(f"{digest_tensors(tensors)} {sorted(values)}".encode())
