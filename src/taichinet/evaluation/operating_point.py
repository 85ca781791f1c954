"""Choice of a `Decision` on validation images: temperature, post-processing, and presence threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, exp, floor, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage, optimize

from taichinet.errors import SettingError
from taichinet.evaluation.calibration import calibrate, pool
from taichinet.evaluation.decision import DEFAULT_DECISION, Decision, logit
from taichinet.evaluation.detection import detect_lesions
from taichinet.evaluation.masks import Mask
from taichinet.evaluation.metrics import NEIGHBOURS, dice_score
from taichinet.settings import Record, Settings

TEMPERATURES = (0.1, 10.0)
THRESHOLDS = (0.5, 0.45, 0.55, 0.4, 0.6, 0.35, 0.65, 0.3, 0.7, 0.25, 0.75, 0.2, 0.8)  # of equal ones, the first is used
# At most a third of the smallest lesions of BUSI (0.3 % of the image): a larger limit removes small lesions that were
# found, and on few validation images it can still give the best mean.
SMALLEST_COMPONENTS = (0.0, 0.00025, 0.0005, 0.001)
DICE_TOLERANCE = 0.005  # of decisions within this of the best Dice, the one with the fewest false positives is used
FEW_LESION_IMAGES = 10


class DecisionSettings(Settings):
    """Whether and how the decision is calibrated on the inner validation split."""

    calibrate: bool = Field(
        default=False, description="choose temperature, post-processing and presence threshold on the validation split"
    )
    sensitivity: float = Field(
        default=0.95, gt=0, le=1, description="share of the found lesions that the presence decision must keep"
    )


@dataclass(frozen=True)
class ValidationImage:
    """Probability of lesion, and the true mask, both (S, S) at the input resolution of the network."""

    probability: NDArray[np.float32]
    truth: Mask


class CurvePoint(Record):
    """What a presence threshold gives.

    Attributes:
        presence: The threshold.
        found: Share of all lesion images whose lesion is found.
        normal_predicted: Share of the normal images with any prediction; None without normal images.
    """

    presence: float
    found: float
    normal_predicted: float | None


class OperatingPoint(Record):
    """A decision, and its figures on the validation images at input resolution.

    Attributes:
        decision: The decision.
        sensitivity: The requested share.
        dice_at_default: Mean Dice of lesion images with threshold 0.5 and nothing else.
        dice_before: Mean Dice of lesion images without the presence decision.
        dice: Mean Dice of lesion images with the whole decision.
        before: Shares without the presence decision.
        after: Shares with it.
        curve: The shares for every presence threshold at which they change, from 0.
        cross_entropy_before, cross_entropy_after: Mean over all pixels, before and after temperature.
        ece_before, ece_after: Expected calibration error over all pixels.
        notes: What limits the figures.
    """

    decision: Decision
    sensitivity: float
    lesion_images: int
    normal_images: int
    dice_at_default: float | None = None
    dice_before: float | None = None
    dice: float | None = None
    before: CurvePoint | None = None
    after: CurvePoint | None = None
    curve: tuple[CurvePoint, ...] = ()
    cross_entropy_before: float | None = None
    cross_entropy_after: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None
    notes: tuple[str, ...] = ()


def choose_operating_point(images: Sequence[ValidationImage], sensitivity: float) -> OperatingPoint:
    """Choose a decision.

    1. The temperature minimises the cross-entropy of all pixels.
    2. Threshold, smallest component and hole filling maximise the mean Dice of lesion images. Of all combinations
       within DICE_TOLERANCE of the best, the one with the fewest normal images with a prediction is used.
    3. The presence threshold is the largest at which `sensitivity` of the lesion images that are found without a
       presence decision are still found. Images whose lesion is not found in any case are not counted: otherwise a
       network that misses more than 1 - `sensitivity` of the lesions would have no presence decision.

    Args:
        images: The validation images, which must not have been used in training.
        sensitivity: Share in (0, 1].

    Returns:
        The decision with its figures. It is the default decision if there is no lesion image.

    Raises:
        SettingError: There are no images, or `sensitivity` is not in (0, 1].
    """
    if not images or not 0 < sensitivity <= 1:
        raise SettingError(
            f"A decision needs validation images and a sensitivity in (0, 1], but got {len(images)} images and "
            f"{sensitivity}. Set data.validation_share and decision.sensitivity."
        )
    lesions = [image for image in images if image.truth.any()]
    normals = [image for image in images if not image.truth.any()]
    counts: dict[str, Any] = {"sensitivity": sensitivity, "lesion_images": len(lesions), "normal_images": len(normals)}
    notes = _notes(len(lesions), len(normals))
    if not lesions:
        return OperatingPoint(decision=DEFAULT_DECISION, **counts, notes=notes)
    temperature = fit_temperature(images)
    calibrated = Decision(temperature=temperature)
    without_presence = _choose_post_processing(calibrated, lesions, normals)
    measured = _Measured.of(without_presence, lesions, normals)
    presence = measured.presence_threshold(sensitivity) if normals else 0.0
    decision = without_presence.model_copy(update={"presence": presence})
    return OperatingPoint(
        decision=decision,
        **counts,
        dice_at_default=_mean_dice(DEFAULT_DECISION, lesions),
        dice_before=_mean_dice(without_presence, lesions),
        dice=_mean_dice(decision, lesions),
        before=measured.point(0.0),
        after=measured.point(presence),
        curve=tuple(measured.curve()),
        cross_entropy_before=_cross_entropy(images, 1.0),
        cross_entropy_after=_cross_entropy(images, temperature),
        ece_before=_ece(DEFAULT_DECISION, images),
        ece_after=_ece(calibrated, images),
        notes=notes,
    )


def fit_temperature(images: Sequence[ValidationImage]) -> float:
    """The temperature in TEMPERATURES with the least cross-entropy of all pixels, to four decimals."""
    logits, truth = _pixels(images)
    low, high = map(log, TEMPERATURES)
    found = optimize.minimize_scalar(
        lambda x: _entropy_of(logits, truth, exp(x)), bounds=(low, high), method="bounded", options={"xatol": 1e-4}
    )
    return round(exp(float(found.x)), 4)


def _cross_entropy(images: Sequence[ValidationImage], temperature: float) -> float:
    return _entropy_of(*_pixels(images), temperature)


def _pixels(images: Sequence[ValidationImage]) -> tuple[NDArray[np.float64], Mask]:
    """Logits and truth of all pixels."""
    probability = np.concatenate([image.probability.ravel() for image in images]).astype(np.float64)
    return np.asarray(logit(probability), dtype=np.float64), np.concatenate([image.truth.ravel() for image in images])


def _entropy_of(logits: NDArray[np.float64], truth: Mask, temperature: float) -> float:
    scaled = logits / temperature
    return float(np.logaddexp(0, np.where(truth, -scaled, scaled)).mean())


def _ece(decision: Decision, images: Sequence[ValidationImage]) -> float:
    return pool(calibrate(decision.calibrated(image.probability), image.truth) for image in images).ece


def _choose_post_processing(
    calibrated: Decision, lesions: Sequence[ValidationImage], normals: Sequence[ValidationImage]
) -> Decision:
    candidates, dices, false_positives = list[Decision](), list[float](), list[int]()
    for fill, threshold in product((False, True), THRESHOLDS):
        decision = calibrated.model_copy(update={"threshold": threshold, "fill_holes": fill})
        candidates += [decision.model_copy(update={"smallest_component": share}) for share in SMALLEST_COMPONENTS]
        dices += np.mean([_scores_by_component_size(decision, image)[0] for image in lesions], axis=0).tolist()
        predicted = [_scores_by_component_size(decision, image)[1] for image in normals]
        false_positives += np.sum(predicted, axis=0).tolist() if normals else [0] * len(SMALLEST_COMPONENTS)
    close = [i for i, dice in enumerate(dices) if dice >= max(dices) - DICE_TOLERANCE]
    return candidates[min(close, key=lambda i: (false_positives[i], -dices[i]))]


def _scores_by_component_size(decision: Decision, image: ValidationImage) -> tuple[list[float], list[bool]]:
    """For each of SMALLEST_COMPONENTS: Dice (0 if it is undefined), and whether anything is predicted.

    The components are measured once, instead of one mask for each size.
    """
    labels, count = ndimage.label(_mask(decision, image), structure=NEIGHBOURS)
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    overlap = np.bincount(labels[image.truth], minlength=count + 1)[1:]
    true = np.count_nonzero(image.truth)
    dices, predicted = list[float](), list[bool]()
    for share in SMALLEST_COMPONENTS:
        kept = pixels >= share * labels.size
        total = int(pixels[kept].sum()) + true
        dices.append(2 * int(overlap[kept].sum()) / total if total else 0.0)
        predicted.append(bool(kept.any()))
    return dices, predicted


def _mask(decision: Decision, image: ValidationImage) -> Mask:
    return decision.mask(image.probability, decision.presence_score(image.probability) if decision.presence else 0.0)


def _finds_lesion(decision: Decision, image: ValidationImage) -> bool:
    return bool(detect_lesions(_mask(decision, image), image.probability, image.truth).found_scores)


def _mean_dice(decision: Decision, lesions: Sequence[ValidationImage]) -> float:
    return float(np.mean([dice_score(_mask(decision, image), image.truth) for image in lesions]))


@dataclass(frozen=True)
class _Measured:
    """Presence score of each image, and whether its lesion is found, or anything predicted, without that decision."""

    lesions: tuple[tuple[float, bool], ...]
    normals: tuple[tuple[float, bool], ...]

    @classmethod
    def of(
        cls, decision: Decision, lesions: Sequence[ValidationImage], normals: Sequence[ValidationImage]
    ) -> _Measured:
        def measured(image: ValidationImage, positive: bool) -> tuple[float, bool]:
            score = decision.presence_score(image.probability)
            # Rounded down, so that rounding in another runtime does not put an image below its own score.
            return floor(score * 1e6) / 1e6, positive

        return cls(
            tuple(measured(image, _finds_lesion(decision, image)) for image in lesions),
            tuple(measured(image, bool(_mask(decision, image).any())) for image in normals),
        )

    def presence_threshold(self, sensitivity: float) -> float:
        scores = sorted((score for score, found in self.lesions if found), reverse=True)
        return scores[ceil(sensitivity * len(scores) - 1e-9) - 1] if scores else 0.0

    def point(self, presence: float) -> CurvePoint:
        def share(images: tuple[tuple[float, bool], ...]) -> float:
            return sum(positive and score >= presence for score, positive in images) / len(images)

        normal = share(self.normals) if self.normals else None
        return CurvePoint(presence=presence, found=share(self.lesions), normal_predicted=normal)

    def curve(self) -> Iterator[CurvePoint]:
        for presence in sorted({0.0, *(score for score, positive in (*self.lesions, *self.normals) if positive)}):
            yield self.point(presence)


def _notes(lesions: int, normals: int) -> tuple[str, ...]:
    notes = []
    if not lesions:
        notes.append("The validation split has no lesion image: the default decision is used.")
    elif lesions < FEW_LESION_IMAGES:
        notes.append(
            f"The validation split has only {lesions} lesion images: the decision is uncertain. Use at least "
            f"{FEW_LESION_IMAGES} (data.validation_share)."
        )
    if not normals:
        notes.append(
            "The validation split has no normal image: there is no presence decision (presence 0). Train with "
            "data.include_normal=true to get one."
        )
    return tuple(notes)
