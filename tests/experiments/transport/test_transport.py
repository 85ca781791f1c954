"""Archives of runs: pack, unpack, and everything that is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.ddti import make_fake_ddti

from experiments.grid.grids import phantoms, tiny_grid
from taichinet.datasets.catalogue import open_dataset
from taichinet.errors import DataError, StorageError
from taichinet.experiments.cross_validate import summarise_study
from taichinet.experiments.evaluate import evaluate_weights
from taichinet.experiments.grid.executors import Serial
from taichinet.experiments.grid.progress import read_progress
from taichinet.experiments.grid.run_grid import run_grid
from taichinet.experiments.records import StudyRecord, read_fold, read_record
from taichinet.experiments.transport import pack
from taichinet.experiments.transport.pack import pack_runs
from taichinet.experiments.transport.record import INDEX_FILE
from taichinet.experiments.transport.unpack import unpack_runs
from taichinet.models.weights import ROUNDED_FROM, load_weights, save_weights
from taichinet.reports.paper_tables.write import ReportOptions, write_report
from taichinet.storage.digest import digest_bytes, digest_file

STUDY = Path("busi/short-unet/grouped")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Phantoms, a second data set, and a run folder with both folds of a U-Net, scored on the second data set."""
    root = tmp_path_factory.mktemp("transport")
    data, foreign, runs = phantoms(root), make_fake_ddti(root), root / "runs"
    train(data, foreign, runs, (0, 1))
    return data, foreign, runs


def train(data: Path, foreign: Path, runs: Path, folds: tuple[int, ...]) -> list[str]:
    grid = tiny_grid(data, runs, "unet", more=(str(foreign),), test_on=("ddti",), folds=folds)
    progress = run_grid(read_progress(grid.cells, grid.transfers), Serial(), tick_seconds=0.05)
    assert progress.failed == []
    return ["before" if entry.done_before else entry.state for entry in progress.entries]


@pytest.fixture
def runs(places: tuple[Path, Path, Path], tmp_path: Path) -> Path:
    """A copy of the run folder."""
    shutil.copytree(places[2], tmp_path / "packed-runs")
    return tmp_path / "packed-runs"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_unpacked_runs_are_the_packed_ones_without_what_only_this_machine_needs(runs: Path, tmp_path: Path) -> None:
    packed = pack_runs(runs, tmp_path / "archive")
    unpack_runs(tmp_path / "archive", tmp_path / "runs")
    assert (packed.folds, packed.parts) == (2, 1)
    assert {name.partition(".")[2] for name in names(tmp_path / "runs")} >= {"json", "csv", "yaml"}
    left_out = {path.split("/")[0] for path in names(runs) - names(tmp_path / "runs")} - {"busi"}
    assert left_out <= {"mining", "prepared"}
    assert not {Path(name).suffix for name in names(tmp_path / "runs")} & {".safetensors", ".pt"}
    for name in names(tmp_path / "runs"):
        assert (tmp_path / "runs" / name).read_bytes() == (runs / name).read_bytes(), name


def test_the_report_of_unpacked_runs_is_the_same(runs: Path, tmp_path: Path) -> None:
    pack_runs(runs, tmp_path / "archive")
    unpack_runs(tmp_path / "archive", tmp_path / "here" / runs.name)
    for root in (runs, tmp_path / "here" / runs.name):
        write_report(root, root.parent / "report", ReportOptions(resamples=20))
    one, other = tmp_path / "report", tmp_path / "here/report"
    assert names(one) == names(other)
    assert [name for name in sorted(names(one)) if (one / name).read_bytes() != (other / name).read_bytes()] == []


@pytest.mark.parametrize("weights", [False, True])
def test_unpacked_runs_are_done_for_a_grid(
    weights: bool, places: tuple[Path, Path, Path], runs: Path, tmp_path: Path
) -> None:
    pack_runs(runs, tmp_path / "archive", weights=weights)
    unpack_runs(tmp_path / "archive", tmp_path / "runs")
    assert train(places[0], places[1], tmp_path / "runs", (0, 1)) == ["before"] * 3


def test_an_archive_with_other_weights_makes_the_evaluation_outdated(
    places: tuple[Path, Path, Path], runs: Path, tmp_path: Path
) -> None:
    loaded = load_weights(runs / STUDY / "fold-0/weights")
    config = replace(loaded.config, provenance={**loaded.config.provenance, ROUNDED_FROM: "0" * 64})
    save_weights(loaded.network, config, runs / STUDY / "fold-0/weights", torch.float16)
    grid = tiny_grid(places[0], runs, "unet", more=(str(places[1]),), test_on=("ddti",), folds=(0,))
    assert [entry.state for entry in read_progress(grid.cells, grid.transfers).entries] == ["done", "waiting"]


def test_weights_are_packed_as_float16_and_score_nearly_the_same(
    places: tuple[Path, Path, Path], runs: Path, tmp_path: Path
) -> None:
    pack_runs(runs, tmp_path / "archive", weights=True)
    unpack_runs(tmp_path / "archive", tmp_path / "runs")
    original, rounded = runs / STUDY / "fold-0/weights", tmp_path / "runs" / STUDY / "fold-0/weights"
    assert (rounded / "model.safetensors").stat().st_size < 0.7 * (original / "model.safetensors").stat().st_size
    assert load_weights(rounded).config.provenance[ROUNDED_FROM] == digest_file(original / "model.safetensors")
    again = evaluate_weights(tmp_path / "runs" / STUDY, places[0]).summary.lesion.score("dice").mean
    before = read_record(runs / STUDY / "summary.json", StudyRecord).summary.lesion.score("dice").mean
    assert again == pytest.approx(before, abs=0.02)


def test_large_archives_are_cut_and_smaller_ones_remove_their_surplus(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "PART_BYTES", 3000)
    folder = tmp_path / "archive"
    packed = pack_runs(runs, folder)
    assert packed.parts > 2
    assert all(part.stat().st_size <= 3000 for part in folder.glob("*.part"))
    unpack_runs(folder, tmp_path / "runs")
    first = {part.name: part.read_bytes() for part in folder.glob("*.part")}
    pack_runs(runs, folder)
    assert {part.name: part.read_bytes() for part in folder.glob("*.part")} == first, "depends on more than the runs"
    monkeypatch.setattr(pack, "PART_BYTES", 10_000_000)
    pack_runs(runs, folder)
    assert [part.name for part in folder.glob("*.part")] == ["runs-0001.part"]


def test_an_incomplete_fold_is_not_packed(runs: Path, tmp_path: Path) -> None:
    (runs / STUDY / "fold-1/result.json").unlink()
    shutil.copytree(runs / STUDY / "fold-0", runs / STUDY / ".0123abcd.tmp")  # left by a killed process
    assert pack_runs(runs, tmp_path / "archive").folds == 1
    unpack_runs(tmp_path / "archive", tmp_path / "runs")
    assert not (tmp_path / "runs" / STUDY / "fold-1").exists()


def test_a_folder_without_completed_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No completed run"):
        pack_runs(tmp_path, tmp_path / "archive")
    assert not (tmp_path / "archive").exists()


def test_a_file_of_the_user_is_not_replaced_by_a_part(runs: Path, tmp_path: Path) -> None:
    own = tmp_path / "archive/runs-0001.part"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(StorageError, match="not written by taichinet"):
        pack_runs(runs, own.parent)
    assert own.read_text() == "mine"
    pack_runs(runs, own.parent, overwrite=True)
    unpack_runs(own.parent, tmp_path / "runs")


def cut(folder: Path) -> None:
    part = folder / "runs-0002.part"
    part.write_bytes(part.read_bytes()[:-1])


def flip(folder: Path) -> None:
    part = folder / "runs-0002.part"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)


def change_index(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / INDEX_FILE).read_text())
        change(content)
        (folder / INDEX_FILE).write_text(json.dumps(content))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no list": (lambda folder: (folder / INDEX_FILE).unlink(), "No archive.json"),
    "a list cut short": (lambda folder: (folder / INDEX_FILE).write_text('{"parts": ['), r"archive\.json"),
    "another list": (lambda folder: (folder / INDEX_FILE).write_text("[1]"), r"archive\.json"),
    "no part": (lambda folder: (folder / "runs-0002.part").unlink(), r"runs-0002\.part is absent"),
    "a part cut short": (cut, r"runs-0002\.part is damaged"),
    "a changed part": (flip, r"runs-0002\.part is damaged"),
    "a part elsewhere": (change_index(lambda c: c["parts"][0].update(name="../x.part")), "not the name of a part"),
    "fewer files": (change_index(lambda c: c["files"].pop()), "other files than"),
    "a changed file": (change_index(lambda c: c["files"][0].update(sha256="0" * 64)), "is damaged"),
    "no parts": (change_index(lambda c: c.update(parts=[])), "lists no archive files"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_refused_and_nothing_is_written(
    damage: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "PART_BYTES", 5000)
    pack_runs(runs, tmp_path / "archive")
    change, says = DAMAGES[damage]
    change(tmp_path / "archive")
    with pytest.raises(DataError, match=says):
        unpack_runs(tmp_path / "archive", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil/result.json", "unsafe name"),
        ("/etc/result.json", "unsafe name"),
        ("busi/./result.json", "unsafe name"),
        ("busi/run.sh", "not a file of a run"),
        ("busi/x/grouped/fold-0/checkpoint.pt", "not a file of a run"),
        ("busi/x/grouped/fold-0/weights/run.py", "not a file of a run"),
        ("folds/plan.py", "not a file of a run"),
    ],
)
def test_unsafe_and_foreign_names_are_refused(name: str, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    with zipfile.ZipFile(folder / "runs-0001.part", "w") as archive:
        archive.writestr(name, b"{}")
    part = {
        "name": "runs-0001.part",
        "bytes": (folder / "runs-0001.part").stat().st_size,
        "sha256": digest_file(folder / "runs-0001.part"),
    }
    file = {"name": name, "bytes": 2, "sha256": digest_bytes(b"{}")}
    (folder / INDEX_FILE).write_text(json.dumps({"version": 1, "parts": [part], "files": [file]}))
    with pytest.raises(DataError, match=says):
        unpack_runs(folder, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_unpacking_twice_writes_nothing_and_other_content_is_refused(runs: Path, tmp_path: Path) -> None:
    pack_runs(runs, tmp_path / "archive")
    first = unpack_runs(tmp_path / "archive", tmp_path / "runs")
    again = unpack_runs(tmp_path / "archive", tmp_path / "runs")
    assert (again.written, again.identical) == (0, first.written)
    history = tmp_path / "runs" / STUDY / "fold-0/history.csv"
    history.write_text("mine")
    (tmp_path / "runs" / STUDY / "fold-1/result.json").unlink()
    with pytest.raises(StorageError, match=r"fold-0/history\.csv"):
        unpack_runs(tmp_path / "archive", tmp_path / "runs")
    assert history.read_text() == "mine"
    assert not (tmp_path / "runs" / STUDY / "fold-1/result.json").exists(), "was written although another is refused"
    unpack_runs(tmp_path / "archive", tmp_path / "runs", overwrite=True)
    assert names(tmp_path / "runs") >= {f"{STUDY}/fold-1/result.json"}
    assert history.read_bytes() == (runs / STUDY / "fold-0/history.csv").read_bytes()


def test_weights_of_a_replaced_result_are_removed(runs: Path, tmp_path: Path) -> None:
    pack_runs(runs, tmp_path / "archive")
    result = runs / STUDY / "fold-0/result.json"
    result.write_text(result.read_text().replace('"wall_seconds": ', '"wall_seconds": 1'))
    (runs / STUDY / "fold-0/validation.png").touch()
    unpack_runs(tmp_path / "archive", runs, overwrite=True)
    assert not (runs / STUDY / "fold-0/weights").exists()
    assert not (runs / STUDY / "fold-0/seen.safetensors").exists()
    assert not (runs / STUDY / "fold-0/validation.png").exists()
    assert (runs / STUDY / "fold-1/weights").exists()


def test_folds_of_two_machines_become_one_study(places: tuple[Path, Path, Path], runs: Path, tmp_path: Path) -> None:
    """Each machine has trained one fold; the summary over both is that of a machine that has trained both."""
    whole = json.loads((runs / STUDY / "summary.json").read_text())
    for fold, other in ((0, 1), (1, 0)):
        machine = tmp_path / f"machine-{fold}"
        shutil.copytree(runs, machine)
        shutil.rmtree(machine / STUDY / f"fold-{other}")
        shutil.rmtree(machine / STUDY / "on-ddti")
        summarise_study(machine / STUDY)
    pack_runs(tmp_path / "machine-1", tmp_path / "archive")
    done = unpack_runs(tmp_path / "archive", tmp_path / "machine-0")
    assert [path.relative_to(tmp_path / "machine-0") for path in done.summarised] == [STUDY]
    assert json.loads((tmp_path / "machine-0" / STUDY / "summary.json").read_text()) == whole


def test_a_study_with_other_settings_is_a_conflict(runs: Path, tmp_path: Path) -> None:
    pack_runs(runs, tmp_path / "archive")
    summary = runs / STUDY / "summary.json"
    content = json.loads(summary.read_text())
    content["experiment"]["training"]["epochs"] = 3
    summary.write_text(json.dumps(content))
    with pytest.raises(StorageError, match=r"summary\.json"):
        unpack_runs(tmp_path / "archive", runs)


def test_a_grid_computes_what_needs_weights(places: tuple[Path, Path, Path]) -> None:
    """Scores at original resolution, calibration, and scores on another data set, before anything is packed."""
    _, foreign, runs = places
    fold = read_fold(runs / STUDY / "fold-0")
    assert {"dice_native", "hd95_native"} <= set(fold.scores.columns)
    assert fold.record.calibration is not None
    assert fold.record.calibration.brier_all_pixels is not None
    evaluation = json.loads((runs / STUDY / "on-ddti/summary.json").read_text())
    assert [network["calibration"]["region"] for network in evaluation["networks"]] == ["lesion", "lesion"]
    assert evaluation["images"]["used"] == len(open_dataset(foreign).samples)
