"""Notes on weights that are used on other images than those of their training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    trained = provenance.get("dataset")
    trained_on_lesions = True
    if isinstance(trained, str):
        from taichinet.datasets.catalogue import named_dataset, organ_of

        own = organ_of(trained)
        trained_on_lesions = named_dataset(trained.split("+")[0]).regions == ("lesion",)
        for data in dict.fromkeys(datasets):
            other = organ_of(data)
            if own and other and own != other:
                notes.append(
                    f"Note: {name} was trained on images of {_SHOWN.get(own, own)} ({trained}), but {data} shows "
                    f"{_SHOWN.get(other, other)}: its masks have no meaning there unless you have tested them."
                )
    if provenance.get("include_normal") is False and trained_on_lesions:
        notes.append(
            f"Note: {name} was trained without normal images: it predicts a lesion on almost every image without one."
        )
    return notes


def recognised_datasets(folders: Iterable[str]) -> list[str]:
    """Names of the data sets of the catalogue whose layout is that of one of `folders`."""
    from taichinet.datasets.catalogue import split_spec

    names = []
    for folder in folders:
        try:
            names.append(split_spec(folder)[0].name)
        except (TaiChiNetError, OSError):
            continue
    return names
