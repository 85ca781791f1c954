"""The panels that several figures share: the image, an answer on it, an output map, a feature map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from taichinet.datasets.image_io import resize_mask
from taichinet.reports.figures.sheet import Panel
from taichinet.reports.figures.source import Answer, Case


def image_panel(case: Case, note: str = "", highlight: bool = False) -> Panel:
    """The image with the truth's border in red."""
    return Panel(case.image, truth=case.truth, highlight=highlight, note=note, record={"case": case.key})


def answer_panel(case: Case, answer: Answer) -> Panel:
    """The image with the truth's border and the answer's, dashed; its Dice, as drawn, below."""
    note = f"DI {answer.dice:.2f}"
    return Panel(case.image, truth=case.truth, prediction=answer.mask, note=note, record=answer.record)


def output_panel(case: Case, answer: Answer, note: str | None = None) -> Panel:
    """The probability from black to white, with both borders."""
    return Panel(
        answer.probability,
        truth=case.truth,
        prediction=answer.mask,
        note=f"DI {answer.dice:.2f}" if note is None else note,
        record=answer.record,
    )


def response_panel(case: Case, response: Tensor, record: dict[str, Any], note: str = "") -> Panel:
    """A feature map (h, w), stretched from its least to its greatest value, under the truth's border.

    The record tells those two values, and the mean response inside and outside of the lesion.
    """
    values = response.double().numpy()
    least, greatest = float(values.min()), float(values.max())
    lesion = resize_mask(case.truth, max(values.shape)).astype(bool) if values.shape[0] == values.shape[1] else None
    told: dict[str, Any] = {**record, "least": least, "greatest": greatest}
    if lesion is not None and 0 < lesion.sum() < lesion.size:
        told |= {"mean_in_lesion": float(values[lesion].mean()), "mean_outside": float(values[~lesion].mean())}
    return Panel(stretched(values), "response", truth=case.truth, note=note, record=told)


def stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` from their least, 0, to their greatest, 1; all 0 where they are equal."""
    least, greatest = values.min(), values.max()
    if greatest == least:
        return np.zeros_like(values)
    return np.asarray((values - least) / (greatest - least))
