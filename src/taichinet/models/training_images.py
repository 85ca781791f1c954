"""The list of training images beside trained weights; in config.json it would take thousands of lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taichinet.errors import WeightsError
from taichinet.storage.digest import digest_bytes

TRAINING_IMAGES_FILE = "training_images.json"
LISTS = ("train_keys", "validation_keys", "seen_images", "seen_pixels")
"""The keys of the provenance that list images: they are in `TRAINING_IMAGES_FILE`."""

_DIGEST = "training_images"  # key of the provenance in config.json: SHA-256 of the file


def split_lists(provenance: Mapping[str, Any]) -> tuple[dict[str, Any], bytes | None]:
    """Separate the lists of images from the rest of a provenance.

    Args:
        provenance: Provenance of the weights.

    Returns:
        The provenance for config.json, which has the digest of the other file in place of the lists; and the content
        of `TRAINING_IMAGES_FILE`, one line per entry, or None if there are no lists.
    """
    lists = {name: list(provenance[name]) for name in LISTS if name in provenance}
    if not lists:
        return dict(provenance), None
    content = (json.dumps(lists, indent=0) + "\n").encode()
    rest = {name: value for name, value in provenance.items() if name not in lists}
    return {**rest, _DIGEST: digest_bytes(content)}, content


def join_lists(provenance: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The whole provenance of the weights in `folder`, whose config.json has `provenance`.

    Earlier versions wrote the lists to config.json; their provenance is returned as it is.

    Raises:
        WeightsError: The file is missing, damaged, or that of other weights.
    """
    if _DIGEST not in provenance:
        return dict(provenance)
    path = folder / TRAINING_IMAGES_FILE
    try:
        content = path.read_bytes()
        lists = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}). It lists the training images, which are left out of evaluations. Copy "
            "the whole folder of the weights again."
        ) from error
    if digest_bytes(content) != provenance[_DIGEST] or not isinstance(lists, dict):
        raise WeightsError(
            f"{path} was changed or belongs to other weights: its SHA-256 is not the one in config.json. Copy the "
            "whole folder of the weights again."
        )
    return {**{name: value for name, value in provenance.items() if name != _DIGEST}, **lists}
