"""Detection in one image: which lesions are found, and which predicted components are false.

A lesion is a connected component of the true mask, with 8 neighbours per pixel, at original resolution. It is found if
a connected component of the predicted mask has a Dice of at least `FOUND_DICE` with it. A predicted component is false
if it finds no lesion. The score of a predicted component is the largest probability in it.

Components of the true mask below `SMALLEST_LESION` are no lesions, except the largest of a mask: some masks of BUSI
have single pixels that were drawn by mistake (5 of 228 components in a third of the images have 1 to 3 pixels, the next
larger one has 569).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from taichinet.evaluation.masks import Mask
from taichinet.evaluation.metrics import NEIGHBOURS

FOUND_DICE = 0.1
SMALLEST_LESION = 1e-4  # share of the image: 5 pixels at 224 px
DETECTION_COLUMNS = ("lesions", "lesions_found", "false_components", "found_scores", "false_scores")
DIGITS = 8  # of a stored score: probabilities near 1 stay different


@dataclass(frozen=True)
class LesionDetection:
    """Lesions and predicted components of one image.

    Attributes:
        lesions: Number of lesions.
        found_scores: For each lesion that is found, the largest score of the components that find it.
        false_scores: The scores of the false components.
    """

    lesions: int
    found_scores: tuple[float, ...]
    false_scores: tuple[float, ...]

    def to_columns(self) -> dict[str, int | str]:
        """The cells of scores.csv by `DETECTION_COLUMNS`: three numbers, and both lists of scores as JSON."""
        return {
            "lesions": self.lesions,
            "lesions_found": len(self.found_scores),
            "false_components": len(self.false_scores),
            "found_scores": json.dumps(self.found_scores),
            "false_scores": json.dumps(self.false_scores),
        }


def detect_lesions(prediction: Mask, probability: NDArray[np.floating], truth: Mask) -> LesionDetection:
    """Compare the components of a predicted mask with the lesions.

    A component that covers several lesions finds each lesion with which it has the required Dice.

    Args:
        prediction: Predicted mask, bool (H, W).
        probability: Probability of lesion, (H, W); read within the predicted mask.
        truth: True mask, bool (H, W).

    Returns:
        The lesions and the components.
    """
    lesion_of, lesions = _label_lesions(truth)
    component_of, components = label(prediction, NEIGHBOURS)
    inside = prediction | truth
    pairs = lesion_of[inside] * (components + 1) + component_of[inside]
    overlap = np.bincount(pairs, minlength=(lesions + 1) * (components + 1)).reshape(lesions + 1, components + 1)
    sizes = overlap.sum(axis=1)[1:, None] + overlap.sum(axis=0)[None, 1:]
    finds = 2 * overlap[1:, 1:] / sizes >= FOUND_DICE  # (lesions, components)
    scores = np.zeros(components)
    np.maximum.at(scores, component_of[prediction] - 1, probability[prediction].astype(np.float64))
    scores = scores.round(DIGITS)
    return LesionDetection(
        lesions=lesions,
        found_scores=tuple(float(scores[found].max()) for found in finds if found.any()),
        false_scores=tuple(scores[~finds.any(axis=0)].tolist()),
    )


def _label_lesions(truth: Mask) -> tuple[NDArray[np.int64], int]:
    """The number of the lesion of each pixel (H, W), 0 outside lesions, and the number of lesions."""
    component_of, components = label(truth, NEIGHBOURS)
    sizes = np.bincount(component_of.ravel(), minlength=components + 1)[1:]
    is_lesion = (sizes >= SMALLEST_LESION * truth.size) | (sizes == sizes.max(initial=0))
    number = np.concatenate([[0], np.where(is_lesion, np.cumsum(is_lesion), 0)])
    return number[component_of], int(is_lesion.sum())
