"""Scores of the cross-validated networks: means over folds, detection, strata, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

import pandas as pd

from taichinet.evaluation.aggregate import DICE_BEFORE, FoldScore, GroupScores, Summary, aggregate
from taichinet.evaluation.calibration import UNCERTAIN
from taichinet.evaluation.undefined import SIZES
from taichinet.experiments.for_use import NetworkForUse
from taichinet.experiments.records import CalibrationRecord
from taichinet.reports.document.format import LONG, PROTOCOLS, scored, title_of
from taichinet.reports.document.model import Note, Section, table_of
from taichinet.reports.paper_tables.detection import detection_blocks

SCORES = ("dice", "jaccard", "precision", "sensitivity")
RESOLUTIONS = ("at input resolution", "at original resolution")
BEFORE = "Dice without the presence decision"


def no_test_images(network: NetworkForUse) -> str:
    """Whose scores a card has."""
    folds, protocol = len(network.folds), network.record.protocol
    return (
        "The network in this folder was trained on all images and has no test images. All figures are those of "
        f"{folds} {'other networks' if folds > 1 else 'other network'} with the same recipe, each tested on images "
        f"that it had not seen ({PROTOCOLS.get(protocol, protocol)})."
    )


def score_sections(network: NetworkForUse) -> tuple[Section, ...]:
    """The sections on scores, detection and calibration."""
    by_name = summaries_of(network.scores, network.datasets)
    summaries = {"all data sets" if "+" in name else title_of(name): summary for name, summary in by_name.items()}
    whole, *_ = summaries.values()
    note = Note(
        f"{no_test_images(network)} Mean ± standard deviation over folds, on {whole.lesion.images:,} images with a "
        f"lesion. “{BEFORE}” includes all other steps of the decision."
    )
    scores = (note, table_of([row for name, summary in summaries.items() for row in _rows(name, summary)], words=2))
    detection = detection_blocks([({"Data": name}, summary.detection) for name, summary in summaries.items()])
    sections = [Section("scores", "Scores of the cross-validated networks", scores)]
    if detection:
        sections.append(Section("detection", "Detection by the cross-validated networks", tuple(detection)))
    return (*sections, *_calibration(network))


def summaries_of(scores: pd.DataFrame, datasets: Sequence[str]) -> dict[str, Summary]:
    """Summaries of per-image scores by name of the data set: all images as "a+b", then each of several data sets."""
    if len(datasets) == 1:
        return {datasets[0]: aggregate(scores)}
    parts = {name: aggregate(scores[scores["dataset"] == name].reset_index(drop=True)) for name in datasets}
    return {"+".join(datasets): aggregate(scores), **parts}


def _rows(name: str, summary: Summary) -> list[dict[str, str]]:
    lesion = summary.lesion
    data = {"Data": f"{name}, {lesion.images:,} images"}
    rows = [data | {"Score": LONG[score]} | at_both_resolutions(lesion, score) for score in SCORES]
    if DICE_BEFORE in lesion.native:
        empty, before = dict.fromkeys(RESOLUTIONS, ""), scored(lesion.native[DICE_BEFORE])
        rows.insert(1, data | {"Score": BEFORE} | empty | {RESOLUTIONS[-1]: before})
    return rows


def at_both_resolutions(group: GroupScores, score: str) -> dict[str, str]:
    """Two cells: a score at input resolution and at original resolution."""
    return {text: scored(group.score(score, size)) for text, size in zip(RESOLUTIONS, SIZES, strict=True)}


def _calibration(network: NetworkForUse) -> tuple[Section, ...]:
    calibrations = [fold.record.calibration for fold in network.folds if fold.record.calibration is not None]
    if not calibrations:
        return ()
    low, high = UNCERTAIN
    note = Note(
        "Expected calibration error (ECE) and Brier score of the probabilities after temperature, at input resolution; "
        f"0 is best. Uncertain pixels have a probability of {low} to {high}. Mean ± standard deviation over folds."
    )
    chosen = [fold.record.decision for fold in network.folds if fold.record.decision is not None]
    validation = {
        "ECE of all pixels, validation images, before temperature": [point.ece_before for point in chosen],
        "ECE of all pixels, validation images, after temperature": [point.ece_after for point in chosen],
    }
    lines = _test_calibration(calibrations) | validation
    rows = [{"Score": name, "Mean": scored(over_folds(values), 4)} for name, values in lines.items() if any(values)]
    return (Section("calibration", "Calibration of the cross-validated networks", (note, table_of(rows))),)


def _test_calibration(records: Sequence[CalibrationRecord]) -> dict[str, list[float | None]]:
    return {
        "ECE of all pixels, test images": [record.ece_all_pixels for record in records],
        "ECE of uncertain pixels, test images": [record.ece_uncertain_pixels for record in records],
        "Brier score of all pixels, test images": [record.brier_all_pixels for record in records],
    }


def over_folds(values: Sequence[float | None]) -> FoldScore:
    """Mean and sample standard deviation of the values that are not None."""
    known = [value for value in values if value is not None]
    return FoldScore(mean=fmean(known) if known else None, std=stdev(known) if len(known) > 1 else None)
