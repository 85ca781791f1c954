"""What a network was trained to segment, in the words of a model card."""

from __future__ import annotations

from dataclasses import dataclass

from taichinet.datasets.catalogue import named_dataset, organ_of

_LESION = "lesion"
_IMAGES = {"breast": "breast ultrasound", "thyroid": "thyroid ultrasound", "eye": "fundus photographs"}
_NORMAL = {"breast": "a normal breast", "thyroid": "a normal thyroid"}


@dataclass(frozen=True)
class Subject:
    """Words that depend on the organ.

    Attributes:
        task: What it segments, e.g. "Lesion segmentation in breast ultrasound".
        tags: Tags of the card for the organ.
        without_normal: Sentence, after a space, on a training with lesion images only; empty if no region is a lesion.
    """

    task: str
    tags: tuple[str, ...]
    without_normal: str


def subject_of(datasets: str) -> Subject:
    """The subject of a network that was trained on a data set, or on several joined as "a+b"."""
    organ = organ_of(datasets)
    regions = named_dataset(datasets.split("+")[0]).regions
    images = _IMAGES.get(organ)
    lesion = regions == (_LESION,)
    task = "Lesion segmentation" if lesion else f"Segmentation of {' and '.join(regions)}"
    normal = f"on {_NORMAL[organ]}" if organ in _NORMAL else "on an image without a lesion"
    return Subject(
        task=task if images is None else f"{task} in {images}",
        tags=() if images is None else (images.replace(" ", "-"),),
        without_normal=f" All of its training images show a lesion: {normal} it often predicts one." if lesion else "",
    )
