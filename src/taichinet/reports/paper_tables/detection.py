"""The section on detection: lesions found, false positives, operating points, and scores by lesion size and class."""

from __future__ import annotations

from collections.abc import Sequence

from taichinet.evaluation.detection import FOUND_DICE
from taichinet.evaluation.detection_summary import Detection
from taichinet.evaluation.metrics import SURFACE_TOLERANCE
from taichinet.evaluation.strata import LOW_DICE
from taichinet.evaluation.uncertainty import LEVEL
from taichinet.reports.document.format import number, percent, rate
from taichinet.reports.document.model import Block, Heading, Points, table_of

Recipe = dict[str, str]  # the first cells of a row, as many in all rows


def detection_blocks(runs: Sequence[tuple[Recipe, Detection | None]]) -> list[Block]:
    """The tables of all runs with a recorded detection; nothing if there are none."""
    recorded = [(recipe, detection) for recipe, detection in runs if detection is not None]
    if not recorded:
        return []
    points = (
        "All scores are at original resolution and over all images, not per fold. A lesion is found if a predicted "
        f"component has a Dice of at least {FOUND_DICE} with it. A component that finds no lesion is false.",
        f"Brackets contain the {LEVEL:.0%} Wilson interval, which treats lesions and images as independent.",
        "Specificity at 95 %: components are kept only if their largest probability is at least the value with which a "
        "lesion is still found in 95 % of the lesion images. The specificity is the share of normal images without "
        "such a component. It is empty if lesions are found in fewer images.",
        "Lesion sizes are quarters of the lesion images in a row's data by lesion area, as a share of the image. NSD "
        f"is the normalised surface Dice with a tolerance of {SURFACE_TOLERANCE:.0%} of the image diagonal.",
    )
    words = len(recorded[0][0])
    strata = [row for run in recorded for row in _stratum_rows(*run)]
    by_probability = "Only components with at least a given largest probability"
    return [
        Points(points),
        table_of([_detection_row(*run) for run in recorded], words, "Detection of lesions and false positives."),
        Heading(by_probability),
        table_of([row for run in recorded for row in _curve_rows(*run)], words, f"{by_probability}."),
        Heading("By lesion size and class"),
        table_of(strata, words + 1, "Scores by lesion size and class."),
    ]


def _detection_row(recipe: Recipe, detection: Detection) -> dict[str, str]:
    return {
        **recipe,
        "Lesions": str(detection.lesions.total),
        "Found": rate(detection.lesions),
        "False per image": number(detection.false_components_per_image, 2),
        "F1": number(detection.f1, 3, ""),
        "Normal images": str(detection.normal_images.total),
        "With a prediction": rate(detection.normal_images),
        "Specificity at 95 %": percent(detection.specificity_at_95_sensitivity),
    }


def _curve_rows(recipe: Recipe, detection: Detection) -> list[dict[str, str]]:
    return [
        {
            **recipe,
            "Probability": f"{point.least_score:g}" if point.least_score else "all",
            "Lesions found": percent(point.lesions_found),
            "False per image": number(point.false_components_per_image, 2),
            "Lesion images found": percent(point.lesion_images_found),
            "Normal images with a prediction": percent(point.normal_images_predicted),
        }
        for point in detection.curve
    ]


def _stratum_rows(recipe: Recipe, detection: Detection) -> list[dict[str, str]]:
    return [
        {
            **recipe,
            "Images": stratum.name,
            "Lesion area": f"{100 * stratum.smallest_area:.1f} to {percent(stratum.largest_area)}",
            "Number": str(stratum.images),
            "DI": number(stratum.dice, 3),
            "Median DI": number(stratum.median_dice, 3),
            f"DI below {LOW_DICE}": percent(stratum.low_dice),
            "NSD": number(stratum.surface_dice, 3),
            "Lesions found": rate(stratum.lesions),
        }
        for stratum in detection.strata
    ]
