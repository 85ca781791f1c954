"""Hand-written rows of `score_images`: a lesion with a given Dice, a normal image, a lost lesion."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from taichinet.evaluation.detection import LesionDetection

OVERLAP = ("dice", "jaccard", "precision", "sensitivity")


def lesion_row(key: str, dice: float, label: str = "benign", fold: int = 0) -> dict[str, object]:
    """PR equals DI, SE is 0.1 lower, JA is half of DI; native overlap is 0.05 lower, distances 1 px larger."""
    network: dict[str, float] = {
        "dice": dice,
        "jaccard": dice / 2,
        "accuracy": 0.9,
        "precision": dice,
        "sensitivity": max(dice - 0.1, 0.0),
        "hd95": 20.0 - 10 * dice,
        "assd": 6.0 - 5 * dice,
    }
    native = {
        f"{name}_native": max(value - 0.05, 0.0) if name in OVERLAP else value + 1 for name, value in network.items()
    } | {"accuracy_native": 0.9}
    pixels = {"predicted_pixels": 30 if dice else 0, "true_pixels": 40, "pixels": 100}
    return {"key": key, "label": label, "fold": fold} | network | native | pixels


def normal_row(key: str, predicted_pixels: int, fold: int = 0) -> dict[str, object]:
    """An image with an empty ground-truth mask, scored as by `score_mask`."""
    overlap = 0.0 if predicted_pixels else nan
    distance = 14.0 if predicted_pixels else 0.0
    network: dict[str, object] = dict.fromkeys(("dice", "jaccard", "precision"), overlap)
    network |= {"sensitivity": nan, "accuracy": 1 - predicted_pixels / 100, "hd95": distance, "assd": distance}
    native = {f"{name}_native": value for name, value in network.items()}
    pixels = {"predicted_pixels": predicted_pixels, "true_pixels": 0, "pixels": 100}
    return {"key": key, "label": "normal", "fold": fold} | network | native | pixels


def lost_row(key: str, label: str = "benign") -> dict[str, object]:
    """A lesion that resizing removed and that is not predicted: undefined at network size, missed at native size."""
    missed = lesion_row(key, 0.0, label) | dict.fromkeys(OVERLAP, nan)
    return missed | {"true_pixels": 0, "predicted_pixels": 0}


def with_detection(
    row: dict[str, object], lesions: int, found: Sequence[float] = (), false: Sequence[float] = (), area: int = 40
) -> dict[str, object]:
    """The row with the columns of the detection; `area` is the native lesion area in 100 pixels."""
    native = {"true_pixels_native": area if lesions else 0, "pixels_native": 100}
    detection = LesionDetection(lesions, tuple(found), tuple(false)).to_columns()
    return row | native | detection | {"nsd_native": row["dice_native"]}
