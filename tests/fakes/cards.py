"""A validation card written by hand, in which every number is different."""

from __future__ import annotations

from math import nan

from taichinet.evaluation.calibration import Calibration
from taichinet.evaluation.decision import Decision
from taichinet.evaluation.uncertainty import Interval
from taichinet.evaluation.undefined import SCORES, ImageSize
from taichinet.experiments.validation_card import (
    Cohort,
    Comparison,
    GroupCard,
    NormalCard,
    Origin,
    ValidationCard,
    WorstCase,
)
from taichinet.reports.document.html import document_html
from taichinet.reports.document.markdown import document_markdown
from taichinet.reports.validation_card import HEADER, card_document

WHOLE = Calibration((9000, 0, 50, 950), (90, 0, 20, 855), (180.0, 0.0, 30.0, 902.5), 250.0)
DOUBT = Calibration((100, 0, 50, 50), (10, 0, 20, 30), (15.0, 0.0, 30.0, 40.0), 36.0)


def interval(mean: float, half: float = 0.05, images: int = 36) -> Interval:
    return Interval(mean, mean - half, mean + half, images, images)


def group(name: str, dice: float, images: int, policy: str | None = None, **changes: object) -> GroupCard:
    """SE 0.1 above `dice`, PR 0.02 below, JA 0.15 below, ACC 0.95, HD95 12.3, ASSD 4.5; native all 0.01 less."""

    def at(less: float) -> dict[str, Interval]:
        values = [dice, dice - 0.15, 0.95, dice - 0.02, dice + 0.1, 12.3, 4.5]
        return {score: interval(value - less, images=images) for score, value in zip(SCORES, values, strict=True)}

    scores: dict[ImageSize, dict[str, Interval]] = {"network": at(0), "native": at(0.01)}
    return GroupCard(name, policy, images, scores, **{"whole": WHOLE, "uncertain": DOUBT, **changes})  # type: ignore[arg-type]


def card(**changes: object) -> ValidationCard:
    """Weights trained on another data set, evaluated on 36 lesion and 12 normal images."""
    content: dict[str, object] = {
        "origin": Origin(
            "cpu-taichinet", "taichinet", 128, Decision(), "busi", 454, False, "grouped", 0, "34db10c47731"
        ),
        "cohort": Cohort(
            dataset="other",
            title="Other Ultrasound",
            images_by_class={"benign": 22, "malignant": 14, "normal": 12},
            clusters=31,
            licence="CC BY 4.0",
            source="the authors' page",
            citation="Someone: Other Ultrasound. 2024",
            digest="0573c57d86887bb3" * 4,
            note="all 48 images",
        ),
        "external": True,
        "lesion": group("lesion", 0.672, 36),
        "by_class": (group("benign", 0.711, 22), group("malignant", 0.611, 14)),
        "all_images": (group("all", 0.504, 48, "paper"), group("all", 0.566, 48, "correct-empty-is-1")),
        "normal": NormalCard(12, interval(0.75, images=12), interval(0.0321, 0.01, images=12), 0.845),
        "comparison": (
            Comparison("dice", 0.781, 0.672, Interval(-0.109, -0.18, -0.04, 165, 160)),
            Comparison("hd95", 10.1, 12.3, Interval(2.2, nan, nan, 165, 160)),
        ),
        "internal_images": 129,
        "missed": 4,
        "worst": (
            WorstCase("benign (16)", "benign", 0.0, 0.0, 0.0),
            WorstCase("malignant (3)", "malignant", 0.168, 0.103, 0.453),
        ),
        "commit": "167cf0f6e2c1",
    }
    return ValidationCard(**{**content, **changes})  # type: ignore[arg-type]


def card_html(content: ValidationCard) -> str:
    return document_html(card_document(content), HEADER)


def card_markdown(content: ValidationCard) -> str:
    return document_markdown(card_document(content), HEADER)
