"""Trained weights included in the package, the default of `taichinet predict`."""

from __future__ import annotations

from pathlib import Path

from taichinet.errors import WeightsError
from taichinet.models.weights_folder import CONFIG_FILE, PACKAGED, WEIGHTS_FILE

SHIPPED = "best-lite"
"""Name of the default weights."""


def shipped_weights() -> Path:
    """The folder `taichinet/weights/SHIPPED` of the installed package.

    Raises:
        WeightsError: The folder has no weights.
    """
    folder = PACKAGED / SHIPPED
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise WeightsError(
                f"This installation of taichinet has no weights '{SHIPPED}' (no {name} in {folder}). Give "
                "other weights with --weights, such as the weights/ of a run of `taichinet train`, or install the "
                "package again."
            )
    return folder
