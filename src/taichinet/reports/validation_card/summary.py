"""The summary of a validation card for readers who do not know the scores: a few sentences from its numbers."""

from __future__ import annotations

from math import isfinite

from taichinet.evaluation.calibration import UNCERTAIN
from taichinet.evaluation.uncertainty import LEVEL, Interval
from taichinet.experiments.validation_card import ValidationCard

FEW_IMAGES = 30
NEGLIGIBLE_GAP = 0.02
NOT_A_DEVICE = "A research tool, not a medical device. Do not use it for diagnosis or decisions about patients."


def summarise_card(card: ValidationCard) -> tuple[str, ...]:
    """Return one or two sentences on each topic for which the card has results."""
    sentences = (*_lesions(card), _false_positives(card), _calibration(card), _difference(card))
    return tuple(sentence for sentence in sentences if sentence)


def out_of(share: float) -> str:
    """A share as `67 of 100`. Rounding does not change it to none or all."""
    whole = round(100 * share)
    if whole == 0 and share > 0:
        return "fewer than 1 of 100"
    if whole == 100 and share < 1:
        return "more than 99 of 100"
    return f"{whole} of 100"


def bounds(interval: Interval, digits: int = 3) -> str:
    """`0.645 to 0.717`; empty without bounds."""
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}" if interval.bounded else ""


def _lesions(card: ValidationCard) -> tuple[str, ...]:
    images = card.lesion.images
    if not images:
        return ("There was no image with a lesion, so the segmentation of lesions was not measured.",)
    scores = card.lesion.scores["network"]
    dice = scores["dice"]
    interval = "no confidence interval can be estimated."
    if dice.bounded:
        interval = f"the {LEVEL:.0%} confidence interval of the mean is {bounds(dice)}."
    missed = f"In each of the {images} images with a lesion at least a part of the lesion was found."
    if card.missed:
        missed = f"In {card.missed} of {images} images with a lesion no part of the lesion was found."
    few = f"{images} images with a lesion are few: all results here are imprecise." if images < FEW_IMAGES else ""
    return (
        f"On average, {out_of(scores['sensitivity'].mean)} pixels of a lesion were found, and "
        f"{out_of(scores['precision'].mean)} pixels that were predicted as lesion belong to one.",
        f"Prediction and ground truth overlap with a mean Dice of {dice.mean:.3f} (1 is perfect, 0 no overlap); "
        + interval,
        missed,
        few,
    )


def _false_positives(card: ValidationCard) -> str:
    if card.normal is None:
        return "There was no normal image, so the rate of false positives was not measured."
    count = round(card.normal.false_positive_rate.mean * card.normal.images)
    text = f"In {count} of {card.normal.images} normal images a lesion was predicted although there is none."
    return f"{text} No normal image was used for training." if card.origin.trained_on_normal is False else text


def _calibration(card: ValidationCard) -> str:
    uncertain = card.overall.uncertain
    if uncertain is None:
        return ""
    low, high = UNCERTAIN
    if not uncertain.total:
        return f"No pixel has a probability between {low} and {high}: all predictions are confident, right or wrong."
    gap = uncertain.overconfidence
    tendency = f"too {'high' if gap > 0 else 'low'} by {abs(gap):.2f} overall"
    if abs(gap) < NEGLIGIBLE_GAP:
        tendency = "neither too high nor too low overall"
    return (
        f"Uncertain probabilities ({low} to {high}) differ from the share of lesion pixels by {uncertain.ece:.2f} on "
        f"average; they are {tendency}."
    )


def _difference(card: ValidationCard) -> str:
    dice = next((row for row in card.comparison if row.score == "dice"), None)
    if dice is None or not isfinite(dice.difference.mean):
        return ""
    amount = f"{abs(dice.difference.mean):.3f} {'lower' if dice.difference.mean < 0 else 'higher'}"
    text = f"On test images of the data set of the training the mean Dice was {dice.internal:.3f}; here it is {amount}"
    if not dice.difference.bounded:
        return f"{text}. Whether this is due to chance cannot be estimated without the scores per image."
    significant = dice.difference.low > 0 or dice.difference.high < 0
    return f"{text}, {'more than' if significant else 'within'} the variation expected by chance."
