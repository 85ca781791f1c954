"""Checkpoints, written atomically. The previous one is kept in case the newest one is damaged."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from taichinet.errors import StorageError, WeightsError
from taichinet.storage.atomic import TEMPORARY_SUFFIX, replacing
from taichinet.storage.digest import digest_bytes, digest_tensors
from taichinet.storage.lock import Lock

CURRENT, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"
DIGEST = "digest"


@dataclass(frozen=True)
class Checkpoint:
    """Training state after `epoch` completed epochs.

    Random states are not stored: every epoch seeds its generators from (seed, epoch).

    Attributes:
        identity: Digest of the settings and training keys. A checkpoint with another identity is rejected.
        epoch: Number of completed epochs.
        network: State dict of the network.
        optimizer: State dict of the optimizer.
        best: State dict of the selected epoch.
        best_dice: Validation Dice of the selected epoch.
        best_epoch: Number of the selected epoch, from 1; 0 if there is none.
        history: One row of metrics per epoch.
        average: State dict of the moving average of the weights; empty without one.
    """

    identity: str
    epoch: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    best: dict[str, Any]
    best_dice: float
    best_epoch: int
    history: list[dict[str, Any]]
    average: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointFolder:
    """Where a training writes its checkpoints.

    Attributes:
        folder: The run folder, or the folder of a mining stage.
        identity: Digest of settings and training data, stored in the checkpoints.
        resume: Whether to resume from the newest checkpoint.
        lock: Lock of the folder, verified after every epoch; None if the caller verifies it.
    """

    folder: Path
    identity: str
    resume: bool = False
    lock: Lock | None = None


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `checkpoint` with a digest of its content, and keep the previous one as PREVIOUS.

    The folder is created if it does not exist. No other process may write to it.

    Raises:
        WeightsError: The file cannot be written. The last valid checkpoint is unchanged.
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
            "intact: free disk space and run again with --resume."
        ) from error


def load_checkpoint(folder: Path, *identities: str, change: str = "") -> Checkpoint | None:
    """Load the newest valid checkpoint.

    If the newest file is truncated or its digest does not match, the previous one is loaded, with a warning.
    Checkpoints of earlier versions have no digest and are loaded without this check.

    Args:
        folder: The run folder.
        *identities: Accepted identities.
        change: Description of the difference between the settings, for the error message.

    Returns:
        The checkpoint, or None if there is none.

    Raises:
        WeightsError: The checkpoint belongs to other settings or data, or no checkpoint can be read.
    """
    torn: list[str] = []
    for name in (CURRENT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            checkpoint = _read(path)
        except Exception as error:  # noqa: BLE001 - torch.load raises almost any exception for a truncated file
            torn.append(f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        if checkpoint.identity not in identities:
            raise WeightsError(
                f"{path} was made with other settings or other training images{change}. Give another --output, or "
                "overwrite the run with --overwrite instead of --resume."
            )
        if torn:
            # Otherwise, the next save would replace this valid file with the damaged one.
            (folder / CURRENT).unlink(missing_ok=True)
            warnings.warn(f"{folder}: {torn[0]}; resuming from {name}, an earlier epoch.", stacklevel=2)
        return checkpoint
    if torn:
        raise WeightsError(f"No checkpoint of {folder} can be read: {'; '.join(torn)}. Train again with --overwrite.")
    return None


def checkpoint_identities(folder: Path) -> set[str]:
    """Identities of the readable checkpoints in `folder`."""
    identities = set()
    for name in (CURRENT, PREVIOUS):
        with suppress(Exception):  # absent or damaged: `load_checkpoint` reports it
            identities.add(_read(folder / name).identity)
    return identities


def rename_checkpoints(folder: Path, identity: str, new_identity: str) -> None:
    """Change the identity of every readable checkpoint in `folder` from `identity` to `new_identity`.

    Each file is replaced atomically. If the process is killed in between, the two files have different identities.

    Args:
        folder: The run folder.
        identity: The present identity. Checkpoints with another identity are not changed.
        new_identity: The new identity.

    Raises:
        StorageError: A file cannot be written. It is unchanged.
    """
    for name in (CURRENT, PREVIOUS):
        try:
            checkpoint = _read(folder / name)
        except Exception:  # noqa: BLE001, S112 - absent or damaged: `load_checkpoint` reports it
            continue
        if checkpoint.identity == identity:
            with replacing(folder / name) as temporary:
                _write(replace(checkpoint, identity=new_identity), temporary)


def clear_checkpoints(folder: Path, keep_newest: bool = False) -> None:
    """Remove the checkpoints of a run that is overwritten or completed; with `keep_newest`, all but the newest."""
    for name in (PREVIOUS,) if keep_newest else (CURRENT, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
    _remove_stumps(folder)


def _remove_stumps(folder: Path) -> None:
    """Remove temporary files of processes that were killed while writing. Earlier versions used the second pattern."""
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
    """SHA-256 of all tensors and other values of nested mappings and sequences, including their keys and indices."""
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
