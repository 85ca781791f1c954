"""Checkpoints: written atomically after every epoch, the one before kept, so that a crash costs one epoch at most."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from taichinet.errors import WeightsError

CURRENT, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"


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
    """Write beside, flush to disk, then swap names. On a full disk the last good checkpoint stays untouched."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{CURRENT}.tmp"
    try:
        with temporary.open("wb") as file:
            torch.save(vars(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise WeightsError(
            f"Cannot write the checkpoint of epoch {checkpoint.epoch} into {folder} ({error}). The one before is "
            "intact: make room on the disk and run again with --resume."
        ) from error
    if (folder / CURRENT).exists():
        (folder / CURRENT).replace(folder / PREVIOUS)
    temporary.replace(folder / CURRENT)


def load_checkpoint(folder: Path, identity: str) -> Checkpoint | None:
    """The newest readable checkpoint, or None where there is none.

    A torn newest file falls back to the one before, with a warning. Raises WeightsError where the checkpoint
    belongs to other settings or data, or where both files are torn.
    """
    torn: list[str] = []
    for name in (CURRENT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            checkpoint = Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # noqa: BLE001 - bytes of a torn file make torch.load raise almost anything
            torn.append(f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        if checkpoint.identity != identity:
            raise WeightsError(
                f"{path} was made with other settings or other training images. Give another --out, or begin "
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


def clear_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that begins anew or has ended."""
    for name in (CURRENT, PREVIOUS, f"{CURRENT}.tmp"):
        (folder / name).unlink(missing_ok=True)
