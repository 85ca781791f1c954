"""Notes on weights that are used on other images than those of their training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from taichinet.errors import TaiChiNetError

_SHOWN = {"breast": "the breast", "thyroid": "the thyroid", "eye": "the eye"}


def notes_on_weights(name: str, provenance: Mapping[str, Any], datasets: Iterable[str] = ()) -> list[str]:
    """What a user should know before using the results.

    Args:
        name: Name of the weights for the messages.
        provenance: Provenance of the weights. Nothing is said about what it does not record.
        datasets: Names of the data sets that the weights are used on, as far as they are known.

    Returns:
        One line for each note.
    """
    notes = []
    trained, without_normal = provenance.get("dataset"), provenance.get("include_normal") is False
    of_lesions = True
    others = tuple(dict.fromkeys(datasets))
    if isinstance(trained, str) and (others or without_normal):
        with suppress(ModuleNotFoundError):  # without the extra train: nothing is known about data sets
            from taichinet.datasets.catalogue import named_dataset, organ_of

            of_lesions = named_dataset(trained.split("+")[0]).regions == ("lesion",)
            own = organ_of(trained)
            for data in others:
                other = organ_of(data)
                if own and other and own != other:
                    notes.append(
                        f"Note: {name} was trained on images of {_SHOWN.get(own, own)} ({trained}), but {data} shows "
                        f"{_SHOWN.get(other, other)}: do not use its masks unless you have tested it there."
                    )
    if without_normal and of_lesions:
        notes.append(
            f"Note: {name} was trained without normal images: it predicts a lesion on almost every image without one."
        )
    return notes


def recognised_datasets(folders: Iterable[str]) -> list[str]:
    """Names of the data sets of the catalogue whose layout is that of one of `folders`."""
    names = []
    for folder in folders:
        with suppress(ModuleNotFoundError, TaiChiNetError, OSError):
            from taichinet.datasets.catalogue import split_spec  # in the loop: many commands name no folder

            names.append(split_spec(folder)[0].name)
    return names
