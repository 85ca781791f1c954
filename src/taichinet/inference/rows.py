"""The rows of predictions.csv and predictions.json: one per image, each with the origin of the results."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """The result of one image. Missing values are None (empty in the CSV file).

    Attributes:
        file: Path of the image.
        name: NAME of the output files NAME_mask.png etc.; with subfolders, a relative path with `/`.
        status: "done" or "failed".
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        lesion_pixels: Area of the mask in pixels.
        area_share: Area of the mask as a fraction of the image.
        components: Number of connected components of the mask.
        box_top: First row of the bounding box of the mask; None for an empty mask, as for the other sides.
        box_left: First column of the bounding box.
        box_bottom: Last row of the bounding box plus 1.
        box_right: Last column of the bounding box plus 1.
        max_probability: Maximum probability of lesion, in [0, 1].
        mean_disagreement: Mean disagreement of the two paths, in [0, 1].
        seconds: Time for reading, network and writing.
        error: Reason of a failure.
        device: Device of the network: cpu, cuda:N or mps.
        presence: Presence score, in [0, 1].
        presence_threshold: Presence score below which the mask is empty; 0: never.
    """

    file: str
    name: str
    status: str
    height: int | None = None
    width: int | None = None
    lesion_pixels: int | None = None
    area_share: float | None = None
    components: int | None = None
    box_top: int | None = None
    box_left: int | None = None
    box_bottom: int | None = None
    box_right: int | None = None
    max_probability: float | None = None
    mean_disagreement: float | None = None
    seconds: float | None = None
    error: str | None = None
    device: str | None = None
    presence: float | None = None
    presence_threshold: float | None = None


@dataclass(frozen=True)
class Provenance:
    """How the results of a run were made; the same in each of its rows, so that a row can be read alone.

    Attributes:
        weights: Name of the weights, without folders of the machine.
        weights_digest: SHA-256 of model.safetensors; of a study, that of the digests of its networks.
        runtime: Name of the runtime.
        precision: Precision of most of the arithmetic of the runtime.
        threshold: Probability above which a pixel is lesion.
        version: Version of taichinet.
    """

    weights: str
    weights_digest: str
    runtime: str
    precision: str
    threshold: float
    version: str


def table_row(row: Row, provenance: Provenance) -> dict[str, Any]:
    """One row of both tables."""
    return {**asdict(row), **asdict(provenance)}
