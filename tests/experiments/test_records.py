"""Records and scores.csv: round trips, files of earlier versions, and rejection of damaged files with the reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from fakes.runs import fold_record, recipe, write_run
from fakes.scores import lesion_row, normal_row

from taichinet.errors import DataError
from taichinet.experiments.records import (
    RECORD_VERSION,
    EvaluationRecord,
    FoldRecord,
    ScoresRecord,
    StudyRecord,
    is_evaluation,
    parse_record,
    read_record,
    read_scores,
    write_record,
    write_scores,
)
from taichinet.reports.paper_tables.runs import Run, read_methods
from taichinet.reports.paper_tables.write import ReportOptions, write_report


def scores() -> pd.DataFrame:
    return pd.DataFrame([lesion_row("007", 0.8), lesion_row("b", 0.6, fold=1), normal_row("NA", 3)])


def recorded_run(root: Path) -> Run:
    """A study whose summary.json records its scores.csv."""
    folder = write_run(root, recipe("short-unet"), scores().to_dict("records"))
    record = write_scores(folder / "scores.csv", scores())
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"scores": record.model_dump()}))
    (method,) = read_methods(root)
    return method.first


def test_scores_round_trip(tmp_path: Path) -> None:
    record = write_scores(tmp_path / "scores.csv", scores())
    assert record.rows == 3
    read_back = read_scores(tmp_path / "scores.csv", record)
    assert read_back["key"].tolist() == ["007", "b", "NA"]
    pd.testing.assert_frame_equal(read_back, scores())


def test_spreadsheet_formulas_are_escaped_and_read_back(tmp_path: Path) -> None:
    keys = ["=1+1", "+a", "-5", "@a", "\ta", "'=1", "''-b", "'quoted", "a-b"]
    rows = pd.DataFrame([lesion_row(key, 0.5) | {"label": f"={key}", "region": "-lesion"} for key in keys])
    rows["network_dice"] = -1.5  # negative numbers are not escaped
    record = write_scores(tmp_path / "scores.csv", rows)
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert not [row["key"] for row in cells if row["key"].startswith(("=", "+", "-", "@", "\t"))]
    assert all(row["label"].startswith("'=") and row["region"] == "'-lesion" for row in cells)
    read_back = read_scores(tmp_path / "scores.csv", record)
    pd.testing.assert_frame_equal(read_back, rows)


@pytest.mark.parametrize("rows_left", [0, 2])
def test_truncated_table_is_rejected(tmp_path: Path, rows_left: int) -> None:
    run = recorded_run(tmp_path)
    path = run.folder / "scores.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: 1 + rows_left]))
    with pytest.raises(DataError, match=rf"scores\.csv has {rows_left} rows.*when it was written it had 3"):
        _ = run.rows


def test_changed_value_is_rejected(tmp_path: Path) -> None:
    run = recorded_run(tmp_path)
    assert len(run.rows) == 3
    path = run.folder / "scores.csv"
    path.write_text(path.read_text().replace("0.8", "0.9", 1))
    (method,) = read_methods(tmp_path)
    with pytest.raises(DataError, match="SHA-256"):
        _ = method.first.rows


def test_run_without_scores_record_is_read_and_reported_as_unverified(tmp_path: Path) -> None:
    rows = [lesion_row(key, dice, fold=fold) for key, dice, fold in (("a", 0.5, 0), ("b", 0.6, 1))]
    write_run(tmp_path / "old", recipe("short-unet"), rows)
    (method,) = read_methods(tmp_path / "old")
    assert len(method.first.rows) == 2
    write_report(tmp_path / "old", tmp_path / "report", ReportOptions(resamples=20))
    assert "Unverified: 1 of 1 runs were made before" in (tmp_path / "report/report.md").read_text()
    recorded_run(tmp_path / "new")
    write_report(tmp_path / "new", tmp_path / "report", ReportOptions(resamples=20))
    assert "Unverified" not in (tmp_path / "report/report.md").read_text()


def test_run_without_scores_record_needs_all_images_of_summary(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe("short-unet"), scores().to_dict("records"))
    scores().head(2).to_csv(folder / "scores.csv", index=False)
    (method,) = read_methods(tmp_path)
    with pytest.raises(DataError, match=r"scores of 2 images, but summary\.json has 3"):
        _ = method.first.rows


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolon"), ("\t", "tab")])
def test_wrong_separator_is_reported(tmp_path: Path, separator: str, name: str) -> None:
    scores().to_csv(tmp_path / "scores.csv", index=False, sep=separator, decimal=",")
    with pytest.raises(DataError, match=rf"separated by '{separator}' \({name}\)"):
        read_scores(tmp_path / "scores.csv", None)


def test_missing_columns_are_reported(tmp_path: Path) -> None:
    scores().drop(columns="hd95").to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(DataError, match="lacks the columns hd95"):
        read_scores(tmp_path / "scores.csv", ScoresRecord(rows=3, sha256=""))


# ------------------------------------------------------------------------------------------------- typed records


def test_fold_record_round_trips(tmp_path: Path) -> None:
    record = fold_record(recipe("short-unet"), scores().to_dict("records"), gflops=1.5)
    write_record(tmp_path / "result.json", record)
    assert read_record(tmp_path / "result.json", FoldRecord) == record
    assert "copied_from" not in json.loads((tmp_path / "result.json").read_text())
    write_record(tmp_path / "result.json", record.model_copy(update={"copied_from": "busi/other"}))
    assert read_record(tmp_path / "result.json", FoldRecord).copied_from == "busi/other"


def test_missing_newer_settings_have_their_default(tmp_path: Path) -> None:
    record = fold_record(recipe("short-unet"), scores().to_dict("records"))
    content = record.to_json_dict()
    for key in ("version", "scores", "machine", "inference_seconds_per_image", "gflops", "teacher"):
        del content[key]
    del content["experiment"]["training"]["accumulate"], content["experiment"]["teacher"]
    (tmp_path / "result.json").write_text(json.dumps(content | {"removed key": 1}))
    assert read_record(tmp_path / "result.json", FoldRecord) == record


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": RECORD_VERSION + 1}, "newer version of taichinet"),
        ({"fold": "first"}, r"cannot be read: fold: .* Delete the file"),
        ({"experiment": {"name": "x", "model": "unett"}}, "unett"),
    ],
)
def test_invalid_record_is_rejected(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    content = fold_record(recipe("short-unet"), scores().to_dict("records")).to_json_dict()
    (tmp_path / "result.json").write_text(json.dumps(content | change))
    with pytest.raises(DataError, match=reason):
        read_record(tmp_path / "result.json", FoldRecord)
    with pytest.raises(DataError, match=r"No summary\.json"):
        read_record(tmp_path / "summary.json", StudyRecord)


def test_every_committed_summary_is_read_without_loss() -> None:
    paths = sorted((Path(__file__).parents[2] / "results").rglob("summary.json"))
    assert len(paths) > 40
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        written = parse_record(
            content, EvaluationRecord if is_evaluation(content) else StudyRecord, path
        ).to_json_dict()
        if "experiment" in content:
            written["experiment"] = content["experiment"]  # with the defaults of later settings
        assert only_keys_of(content, written) == content


def only_keys_of(old: object, new: object) -> object:
    """`new` without the keys, at any depth, that `old` does not have."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: only_keys_of(value, new[key]) for key, value in old.items()}
    if isinstance(old, list) and isinstance(new, list):
        return [only_keys_of(*pair) for pair in zip(old, new, strict=True)]
    return new
