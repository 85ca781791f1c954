"""Archives of unusual folders, and the folder of an earlier archive."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from fakes.runs import fold_record
from fakes.scores import lesion_row

from taichinet.errors import DataError
from taichinet.experiments.cross_validate import summarise_study
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import write_record, write_scores
from taichinet.experiments.transport.pack import pack_runs
from taichinet.experiments.transport.record import is_part_name, is_run_file, part_name
from taichinet.experiments.transport.unpack import unpack_runs
from taichinet.storage.digest import digest_file

STUDY = "busi/demo-unet/grouped"


def test_file_that_is_not_a_part_is_kept_whatever_the_earlier_index_lists(tmp_path: Path) -> None:
    (tmp_path / "runs/study").mkdir(parents=True)
    (tmp_path / "runs/study/result.json").write_text("{}")
    archive = tmp_path / "archive"
    pack_runs(tmp_path / "runs", archive)
    (archive / "notes.txt").write_text("mine")
    index = json.loads((archive / "archive.json").read_text())
    index["parts"].append({"name": "notes.txt", "bytes": 4, "sha256": digest_file(archive / "notes.txt")})
    (archive / "archive.json").write_text(json.dumps(index))

    pack_runs(tmp_path / "runs", archive, overwrite=True)

    assert (archive / "notes.txt").read_text() == "mine"


def test_fold_plans_without_a_completed_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runs/busi/folds").mkdir(parents=True)
    (tmp_path / "runs/busi/folds/grouped.json").write_text("{}")

    with pytest.raises(DataError, match="No completed run"):
        pack_runs(tmp_path / "runs", tmp_path / "archive")

    assert not (tmp_path / "archive").exists()


def test_folder_of_one_fold_is_packed_and_unpacked(tmp_path: Path) -> None:
    (tmp_path / "fold-0").mkdir()
    (tmp_path / "fold-0/result.json").write_text("{}")

    assert pack_runs(tmp_path / "fold-0", tmp_path / "archive").folds == 1
    assert unpack_runs(tmp_path / "archive", tmp_path / "out").written == 1
    assert (tmp_path / "out/result.json").read_text() == "{}"


def test_names_of_parts_and_run_files() -> None:
    assert [is_part_name(part_name(number)) for number in (1, 9999, 10_000)] == [True, True, True]
    assert not is_part_name("../runs-0001.part")
    assert is_run_file("study/fold-0/weights/model.safetensors")
    assert not is_run_file("study/fold-0/weights/setup.py")
    assert not is_run_file("study/folds/plan.py")


def test_folds_that_cannot_be_summarised_together_change_nothing(tmp_path: Path) -> None:
    """The scores of the packed fold lack a score; their digests are right, and a study with other folds exists."""
    rows = {fold: [lesion_row("a", 0.5, fold=fold), lesion_row("b", 0.7, fold=fold)] for fold in (0, 1)}
    for place, fold in (("runs", 0), ("out", 1)):
        folder = tmp_path / place / STUDY / f"fold-{fold}"
        folder.mkdir(parents=True)
        scores = write_scores(folder / "scores.csv", pd.DataFrame(rows[fold]))
        record = fold_record(get_recipe("demo-unet"), rows[fold], fold=fold, scores=scores)
        write_record(folder / "result.json", record)
        summarise_study(folder.parent)
    damaged = tmp_path / "runs" / STUDY / "fold-0/scores.csv"
    damaged.write_text(damaged.read_text().replace("0.5", "", 1))
    pack_runs(tmp_path / "runs", tmp_path / "archive")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    with pytest.raises(
        DataError, match=rf"(?s)Nothing was written, as .*out/{STUDY} .*out/{STUDY}/fold-0.*scores\.csv"
    ):
        unpack_runs(tmp_path / "archive", tmp_path / "out")

    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_temporary_files_of_a_killed_command_are_removed_from_the_archive_only(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/result.json").write_text("{}")
    left, running = tmp_path / "archive/.01234567.tmp/0", tmp_path / "archive/runs/.01234567.tmp"
    for folder in (left, running):
        folder.mkdir(parents=True)
        (folder / "runs.zip").write_text("")

    pack_runs(tmp_path / "runs", tmp_path / "archive")

    assert not left.parent.exists()
    assert running.exists()
