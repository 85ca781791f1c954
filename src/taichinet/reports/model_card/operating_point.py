"""The section on the operating point: the decision in words, and sensitivity against false positives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taichinet.evaluation.decision import DEFAULT_DECISION
from taichinet.evaluation.operating_point import CurvePoint, OperatingPoint
from taichinet.experiments.for_use import NetworkForUse
from taichinet.reports.document.decision import describe_decision
from taichinet.reports.document.format import number, percent, scored
from taichinet.reports.document.model import Block, Note, Points, Section, table_of
from taichinet.reports.model_card.scores import over_folds

PRESENCES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def operating_point_section(network: NetworkForUse) -> Section:
    """The decision of the packaged network, and the figures of the folds from which it was derived."""
    chosen = [fold.record.decision for fold in network.folds if fold.record.decision is not None]
    if not chosen or network.record.decision is None:
        plain = Note(f"{describe_decision(DEFAULT_DECISION)[0]}. No decision was chosen on validation images.")
        return Section("decision", "Operating point", (plain,))
    decision = network.record.decision
    steps = Points(tuple(f"{text}." for text in describe_decision(decision)))
    origin = Note(
        f"The values are the means of those that {len(chosen)} folds chose on their validation images, which are not "
        "test images. They are in `config.json`, and `taichinet predict` applies them. The presence threshold of a "
        f"fold keeps at least {percent(chosen[0].sensitivity, 0)} of the lesion images that are found without it."
    )
    blocks: list[Block] = [steps, origin, _over_folds_table(chosen)]
    if any(point.curve for point in chosen):
        blocks += [Note(_CURVE), _curve_table(chosen, decision.presence)]
    if notes := dict.fromkeys(note for point in chosen for note in point.notes):
        blocks.append(Points(tuple(notes)))
    return Section("decision", "Operating point", tuple(blocks))


_CURVE = (
    "Sensitivity against false positives for other presence thresholds, on the validation images of all folds and with "
    "all other steps as each fold chose them. A lesion image is found if a predicted component finds a lesion in it."
)


def _over_folds_table(chosen: Sequence[OperatingPoint]) -> Block:
    """Each value over the folds, and Dice before and after the presence decision on the validation images."""

    def line(name: str, value: Callable[[OperatingPoint], float | None], digits: int = 3) -> dict[str, str]:
        return {
            "Value": name,
            "Mean ± standard deviation over folds": scored(over_folds(list(map(value, chosen))), digits),
        }

    filled = sum(point.decision.fill_holes for point in chosen)
    rows = [
        line("Temperature", lambda point: point.decision.temperature),
        line("Threshold", lambda point: point.decision.threshold),
        line("Smallest component, share of the image area", lambda point: point.decision.smallest_component, 4),
        {"Value": "Folds that fill holes", "Mean ± standard deviation over folds": f"{filled} of {len(chosen)}"},
        line("Presence threshold", lambda point: point.decision.presence),
        line("Dice on validation images, threshold 0.5 only", lambda point: point.dice_at_default),
        line("Dice on validation images, without presence decision", lambda point: point.dice_before),
        line("Dice on validation images, whole decision", lambda point: point.dice),
    ]
    return table_of(rows)


def _curve_table(chosen: Sequence[OperatingPoint], packaged: float) -> Block:
    rows = []
    for presence in sorted({*PRESENCES, packaged}):
        points = [(point, _at(point.curve, presence)) for point in chosen if point.curve]
        found = _pooled([(at.found, point.lesion_images) for point, at in points])
        normal = _pooled([(at.normal_predicted, point.normal_images) for point, at in points])
        name = number(presence, 3) + (" (this network)" if presence == packaged else "")
        rows.append(
            {
                "Presence threshold": name,
                "Lesion images found": percent(found),
                "Normal images with a prediction": percent(normal),
            }
        )
    return table_of(rows)


def _at(curve: Sequence[CurvePoint], presence: float) -> CurvePoint:
    """The shares at `presence`: those of the next threshold at which they change, none above the last."""
    later = [point for point in curve if point.presence >= presence]
    if later:
        return min(later, key=lambda point: point.presence)
    normal = None if curve[0].normal_predicted is None else 0.0
    return CurvePoint(presence=presence, found=0.0, normal_predicted=normal)


def _pooled(shares: Sequence[tuple[float | None, int]]) -> float | None:
    """The share over all images of parts with (share, images)."""
    known = [(share, images) for share, images in shares if share is not None and images]
    total = sum(images for _, images in known)
    return sum(share * images for share, images in known) / total if total else None
