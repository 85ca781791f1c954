"""Sections on other data sets and on the shift suite, from evaluations of the cross-validated networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from taichinet.evaluation.aggregate import DICE_BEFORE
from taichinet.experiments.records import EvaluationRecord, ShiftScores
from taichinet.experiments.shifts import UNCHANGED
from taichinet.reports.document.format import number, percent, rate, scored, signed, title_of
from taichinet.reports.document.model import Note, Section, table_of
from taichinet.reports.model_card.scores import over_folds


def evaluation_sections(evaluations: Sequence[EvaluationRecord], own: Sequence[str]) -> tuple[Section, ...]:
    """The sections on data sets other than `own`, those of the training, and on shifts; none without evaluations."""
    other = [record for record in evaluations if record.dataset not in ("+".join(own), *own)]
    shifted = [record for record in evaluations if record.shifts]
    sections = []
    if other:
        note = Note(
            "Each cross-validated network was scored on all images. Mean ± standard deviation over the networks; "
            "brackets contain the Wilson interval of the distinct images."
        )
        table = table_of([_other_row(record) for record in other])
        sections.append(Section("other-data", "Scores on other data sets", (note, table)))
    if shifted:
        note = Note(
            "Scores of the cross-validated networks on their test images after a declared change, at input resolution. "
            "If a change has several amounts, the row is that with the largest loss of Dice."
        )
        table = table_of([row for record in shifted for row in _shift_rows(record)], words=2)
        sections.append(Section("shifts", "Changed images", (note, table)))
    return tuple(sections)


def _name(record: EvaluationRecord) -> str:
    return title_of(record.dataset) + (", averaged with the mirror image" if record.mirrored else "")


def _other_row(record: EvaluationRecord) -> dict[str, str]:
    lesion, detection = record.summary.lesion, record.summary.detection
    before = scored(lesion.native[DICE_BEFORE]) if DICE_BEFORE in lesion.native else ""
    calibrations = [network.calibration for network in record.networks]
    ece = over_folds([calibration.ece_all_pixels for calibration in calibrations if calibration is not None])
    return {
        "Data": f"{_name(record)}, {lesion.images:,} images with a lesion",
        "Dice at input resolution": scored(lesion.score("dice")),
        "Dice at original resolution": scored(lesion.score("dice", "native")),
        "Without the presence decision": before,
        "Lesions found": "" if detection is None else rate(detection.lesions),
        "Normal images": str(record.summary.normal_images.images),
        "With a prediction": "" if detection is None else rate(detection.normal_images),
        "ECE": scored(ece, 4),
    }


def _shift_rows(record: EvaluationRecord) -> list[dict[str, str]]:
    rows = []
    for _, amounts in groupby(record.shifts, key=lambda scores: kind_of(scores.shift)):
        worst = max(amounts, key=lambda scores: scores.lost_dice or 0.0)
        rows.append(_shift_row(_name(record), worst))
    return rows


def _shift_row(data: str, scores: ShiftScores) -> dict[str, str]:
    unchanged = scores.shift == UNCHANGED
    return {
        "Data": data,
        "Change": scores.shift,
        "Dice": number(scores.dice, 3),
        "Change of Dice": "" if unchanged or scores.lost_dice is None else signed(-scores.lost_dice),
        "Normal images with a prediction": percent(scores.false_positive_rate),
    }


def kind_of(shift: str) -> str:
    """A shift without its amount: "gain 0.6" -> "gain"."""
    name, _, amount = shift.rpartition(" ")
    return name if name and amount.replace(".", "").isdigit() else shift
