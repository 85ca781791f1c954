"""The section on detection, and the line that `train` and `evaluate` print."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from fakes.runs import recipe, write_run
from fakes.scores import lesion_row, normal_row, with_detection

from taichinet.cli.printing import detection_line
from taichinet.evaluation.detection_summary import summarise_detection
from taichinet.experiments.records import read_scores, write_scores
from taichinet.reports.document.markdown import document_markdown
from taichinet.reports.document.model import Table
from taichinet.reports.paper_tables.results import read_results
from taichinet.reports.paper_tables.sections import make_document

ROWS = [
    with_detection(lesion_row("a", 0.85), 2, [0.99, 0.7]),
    with_detection(lesion_row("b", 0.05, "malignant", fold=1), 1, [], [0.8], area=10),
    with_detection(normal_row("c", 9), 0, [], [0.6]),
    with_detection(normal_row("d", 0, fold=1), 0),
]
OLD = [lesion_row("a", 0.85), lesion_row("b", 0.05, "malignant", fold=1)]


def tables(runs: Path) -> list[Table]:
    (section,) = (s for s in make_document(read_results(runs, resamples=10)).sections if s.name == "detection")
    return [block for block in section.blocks if isinstance(block, Table)]


def test_runs_with_detection_are_shown(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet", data__include_normal=True), ROWS)
    write_run(tmp_path, recipe("short-x-net"), OLD)
    lesions, curve, strata = tables(tmp_path)
    (row,) = lesions.groups[0]
    assert row[2:] == ("3", "66.7 % [20.8, 93.9]", "0.50", "0.571", "2", "50.0 % [9.5, 90.5]", "")
    assert curve.groups[0][0][2:] == ("all", "66.7 %", "0.50", "50.0 %", "50.0 %")
    assert curve.groups[0][4][2:] == ("0.9", "33.3 %", "0.00", "50.0 %", "0.0 %")
    names = [str(cells[2]) for cells in strata.groups[0]]
    assert names == ["lesion images", "smallest quarter", "largest quarter", "benign", "malignant"]
    assert strata.groups[0][-1][3:] == (
        "10.0 to 10.0 %",
        "1",
        "0.000",
        "0.000",
        "100.0 %",
        "0.000",
        "0.0 % [0.0, 79.3]",
    )


def test_seeds_are_pooled_without_narrowing_the_interval(tmp_path: Path) -> None:
    for seed in (0, 1):
        name = "short-unet" + "+seed1" * seed
        write_run(tmp_path, recipe("short-unet", training__seed=seed, name=name), ROWS)
    (row,) = tables(tmp_path)[0].groups[0]
    assert row[2:4] == ("6", "66.7 % [20.8, 93.9]")


def test_report_of_older_runs_has_no_such_section(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), OLD)
    assert "Detection" not in document_markdown(make_document(read_results(tmp_path, resamples=10)), "")


def test_printed_line() -> None:
    detection = summarise_detection(pd.DataFrame(ROWS))
    assert detection is not None
    assert detection_line(detection) == (
        "Lesions found: 2 of 3, 66.7 % [20.8, 93.9]; Normal images with a prediction: 1 of 2, 50.0 % [9.5, 90.5] "
        "(original resolution, 95 % Wilson intervals)."
    )
    lesions_only = summarise_detection(pd.DataFrame(ROWS[:2]))
    assert lesions_only is not None
    assert "Normal" not in detection_line(lesions_only)


def test_detection_is_the_same_from_the_written_file(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS)
    frame["region"] = "lesion"
    record = write_scores(tmp_path / "scores.csv", frame.round(6))
    assert summarise_detection(read_scores(tmp_path / "scores.csv", record)) == summarise_detection(frame.round(6))
