"""Decision: from the probability map of a network to the mask that a user gets.

The steps in order: temperature, pixel threshold, holes, small components, and whether any lesion is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from taichinet.errors import WeightsError
from taichinet.evaluation.masks import Mask
from taichinet.presence import presence_pixels
from taichinet.runner import cleaned
from taichinet.settings import Settings

SMALLEST_PROBABILITY = 1e-7  # probabilities are clipped to [1e-7, 1 - 1e-7], so that their logits are finite


class Decision(Settings):
    """How a mask is made from a probability map. Temperature scaling is that of Guo et al., ICML 2017."""

    temperature: float = Field(default=1.0, gt=0, description="divisor of the logit of the probability")
    threshold: float = Field(
        default=0.5, ge=0, le=1, description="probability after temperature above which a pixel is lesion"
    )
    smallest_component: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="connected components (8-neighbourhood) with a smaller share of the image area are removed",
    )
    fill_holes: bool = Field(
        default=False,
        description="whether holes, background that does not touch the border, become lesion, before the removal of "
        "components",
    )
    presence: float = Field(
        default=0.0, ge=0, le=1, description="least presence score with which any lesion is reported; 0: always"
    )

    @property
    def raw_threshold(self) -> float:
        """The threshold before temperature. Temperature preserves the order, so both give the same mask."""
        if self.temperature == 1 or self.threshold in (0, 1):
            return self.threshold
        return float(_sigmoid(np.float64(self.temperature * log(self.threshold / (1 - self.threshold)))))

    def calibrated(self, probability: NDArray[np.floating]) -> NDArray[np.floating]:
        """The probability (any shape) after temperature; `probability` itself if the temperature is 1."""
        if self.temperature == 1:
            return probability
        return np.asarray(_sigmoid(logit(probability) / self.temperature), dtype=probability.dtype)

    def presence_score(self, probability: NDArray[np.floating]) -> float:
        """Evidence for any lesion: mean of the most probable 0.2 % of the pixels, at least one, after temperature.

        Args:
            probability: Probability of lesion before temperature, at the input resolution of the network, (S, S).

        Returns:
            The score in [0, 1].
        """
        pixels = presence_pixels(probability.size)
        largest = np.partition(probability, -pixels, axis=None)[-pixels:]
        return float(self.calibrated(largest.astype(np.float64)).mean())

    def mask(self, probability: NDArray[np.floating], score: float) -> Mask:
        """The mask of an image.

        Args:
            probability: Probability of lesion before temperature, (H, W) at any resolution.
            score: Presence score of the image.

        Returns:
            Lesion pixels, (H, W).
        """
        if score < self.presence:
            return np.zeros(probability.shape, dtype=np.bool_)
        return self.cleaned(probability > self.raw_threshold)

    def cleaned(self, mask: Mask) -> Mask:
        """`mask` (H, W) with holes filled and small components removed, as far as the decision includes it."""
        if self.fill_holes or self.smallest_component:
            return cleaned(mask, self.smallest_component, self.fill_holes) > 0
        return mask


DEFAULT_DECISION = Decision()
"""A threshold of 0.5 only."""


def mean_decision(decisions: Sequence[Decision]) -> Decision:
    """The decision of an ensemble: the means of the numbers of its networks; holes are filled if most fill them."""
    numbers = ("temperature", "threshold", "smallest_component", "presence")
    means = {name: fmean(getattr(decision, name) for decision in decisions) for name in numbers}
    return Decision(**means, fill_holes=2 * sum(decision.fill_holes for decision in decisions) > len(decisions))


def _sigmoid(logits: NDArray[np.floating] | np.float64) -> NDArray[np.floating]:
    """1 / (1 + exp(-x)), as `scipy.special.expit`: SciPy is not needed to predict."""
    with np.errstate(over="ignore"):  # exp(-x) is infinite for a large negative x, and the result 0
        return np.asarray(1 / (1 + np.exp(-logits)))


def logit(probability: NDArray[np.floating]) -> NDArray[np.floating]:
    """log(p / (1 - p)) of clipped probabilities, in their precision."""
    clipped = np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(np.log(clipped) - np.log(1 - clipped))


def stored_decision(values: Mapping[str, Any] | None, threshold: float, weights: str) -> Decision:
    """The decision of trained weights.

    Args:
        values: "decision" in config.json; None for weights without one.
        threshold: "threshold" in config.json, which applies if there is no decision.
        weights: Name of the weights for error messages.

    Returns:
        The decision.

    Raises:
        WeightsError: A key is unknown, or a value is not valid.
    """
    if values is None:
        return Decision(threshold=threshold)
    try:
        return Decision.model_validate(values, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("decision", *first["loc"])))
        raise WeightsError(
            f"config.json of the weights {weights}: '{key}' is {first['input']!r} ({first['msg']}). Copy or train the "
            "weights again."
        ) from error
