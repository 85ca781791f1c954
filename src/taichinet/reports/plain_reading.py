"""What a validation card says to someone who has never heard of Dice: a few sober sentences, each from its figures."""

from __future__ import annotations

from math import isfinite

from taichinet.evaluation.calibration import UNCERTAIN
from taichinet.evaluation.uncertainty import Interval
from taichinet.experiments.validation_card import ValidationCard

FEW_IMAGES = 30
NEGLIGIBLE_GAP = 0.02
NOT_A_DEVICE = (
    "A research tool, not a medical device: no figure here supports a diagnosis or a decision about a patient."
)


def plain_reading(card: ValidationCard) -> tuple[str, ...]:
    """One sentence or two on each point that the card has figures for."""
    return tuple(
        sentence
        for sentence in (
            _found(card),
            _spread(card),
            _missed(card),
            _false_alarms(card),
            _doubt(card),
            _drop(card),
            _caution(card),
        )
        if sentence
    )


def out_of(share: float) -> str:
    """A share as people say it: `67 of 100`; what is neither none nor all never becomes so by rounding."""
    whole = round(100 * share)
    if whole == 0 and share > 0:
        return "fewer than 1 of 100"
    if whole == 100 and share < 1:
        return "more than 99 of 100"
    return f"{whole} of 100"


def bounds(interval: Interval, digits: int = 3) -> str:
    """`0.645 to 0.717`, or nothing where the bounds do not exist."""
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}" if interval.bounded else ""


def _found(card: ValidationCard) -> str:
    if not card.lesion.images:
        return "There was no image with a lesion: nothing can be said about what is found."
    scores = card.lesion.scores["network"]
    return (
        f"On average {out_of(scores['sensitivity'].mean)} pixels of a lesion were found, and "
        f"{out_of(scores['precision'].mean)} pixels that were called lesion belong to one."
    )


def _spread(card: ValidationCard) -> str:
    if not card.lesion.images:
        return ""
    dice = card.lesion.scores["network"]["dice"]
    said = f"Outline and truth overlap with a mean Dice of {dice.mean:.3f} (1 is perfect, 0 no overlap)"
    if not dice.bounded:
        return f"{said}; how far it would move with other images cannot be told."
    return f"{said}; with other images of the same kind a mean from {bounds(dice)} would be no surprise."


def _missed(card: ValidationCard) -> str:
    if not card.lesion.images:
        return ""
    if not card.missed:
        return f"In each of the {card.lesion.images} images with a lesion at least a part of it was found."
    return f"In {card.missed} of {card.lesion.images} images with a lesion nothing of it was found."


def _false_alarms(card: ValidationCard) -> str:
    if card.normal is None:
        return "There was no normal image: how often a lesion is drawn where there is none was not measured."
    alarms = round(card.normal.false_positive_rate.mean * card.normal.images)
    said = f"In {alarms} of {card.normal.images} normal images a lesion was drawn where there is none."
    return f"{said} No such image was trained on." if card.origin.trained_on_normal is False else said


def _doubt(card: ValidationCard) -> str:
    doubtful = card.overall.uncertain
    if doubtful is None:
        return ""
    band = f"{UNCERTAIN[0]} and {UNCERTAIN[1]}"
    if not doubtful.total:
        return f"No pixel was given a probability between {band}: the network never doubts, right or wrong."
    gap = doubtful.overconfidence
    tendency = (
        "on the whole neither too high nor too low"
        if abs(gap) < NEGLIGIBLE_GAP
        else f"on the whole too {'high' if gap > 0 else 'low'} by {abs(gap):.2f}"
    )
    return (
        f"Where the network doubts (probabilities between {band}) its probabilities are off by {doubtful.ece:.2f} on "
        f"average, {tendency}."
    )


def _drop(card: ValidationCard) -> str:
    dice = next((one for one in card.comparison if one.score == "dice"), None)
    if dice is None or not isfinite(dice.difference.mean):
        return ""
    amount = f"{abs(dice.difference.mean):.3f} {'lower' if dice.difference.mean < 0 else 'higher'}"
    said = f"On unseen images of its own data set the mean Dice was {dice.internal:.3f}; here it is {amount}"
    if not dice.difference.bounded:
        return f"{said}. Whether that is more than chance cannot be told without the images behind the former."
    beyond = dice.difference.low > 0 or dice.difference.high < 0
    return f"{said}, {'more than' if beyond else 'not more than'} chance among such images explains."


def _caution(card: ValidationCard) -> str:
    if not 0 < card.lesion.images < FEW_IMAGES:
        return ""
    return f"{card.lesion.images} images with a lesion are few: take every figure here as rough."
