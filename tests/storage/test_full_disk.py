"""A full disk during a write: earlier files are unchanged, no new files remain, and one error is raised."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import openvino
import pandas as pd
import pytest
import torch
from fakes.random_runs import make_fake_run
from fakes.runs import fold_record, recipe, write_run
from fakes.scores import lesion_row
from openvino import opset13
from safetensors.torch import save_file
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.folds import make_folds, write_folds
from taichinet.datasets.interchange.export import export_monai
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.prepared import Regions, prepare
from taichinet.errors import StorageError
from taichinet.experiments import cross_validate
from taichinet.experiments.grid.cells import Cell
from taichinet.experiments.grid.work import copy_result
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import FoldResult
from taichinet.storage.atomic import replacing, replacing_all, write_json, write_text
from taichinet.training.easy_hard import MinedRegions, Provenance, _write_regions

LIMIT = 64  # maximum bytes of each file on the simulated full disk

Files = dict[str, bytes]


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit files to LIMIT bytes: the system rejects longer writes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))  # Python ignores SIGXFSZ, so writes raise OSError
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files_of(folder: Path) -> Files:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_unchanged_by_a_full_disk(folder: Path, write: Callable[[], object]) -> None:
    """Check `write` into an empty folder and over the files that it wrote before."""
    for earlier in (False, True):
        if earlier:
            write()
        before = files_of(folder)
        assert bool(before) >= earlier
        with full_disk(), pytest.raises(StorageError, match="Cannot write"):
            write()
        assert files_of(folder) == before
        assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 4, 3, 1, seed=1, size=(64, 64))


@pytest.fixture(scope="module")
def fold(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    manifest = open_dataset(data, include_normal=False)
    return make_fake_run(tmp_path_factory.mktemp("runs"), manifest, "demo-unet", manifest.keys[::2])


def save_tensors(path: Path) -> None:
    with replacing(path) as temporary:
        save_file({"a": torch.zeros(10_000)}, temporary)


def save_checkpoint(path: Path) -> None:
    with replacing(path) as temporary:
        torch.save({"a": torch.zeros(10_000)}, temporary)


def save_onnx(path: Path) -> None:
    tensor = onnx.helper.make_tensor("a", onnx.TensorProto.FLOAT, [1000], [0.0] * 1000)
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    with replacing(path) as temporary:
        onnx.save(onnx.helper.make_model(graph), temporary)


def save_openvino(path: Path) -> None:
    constant = opset13.constant(torch.rand(1, 10_000).numpy())
    parameter = opset13.parameter([1, 10_000])
    model = openvino.Model([opset13.add(parameter, constant)], [parameter])
    with replacing_all(path.parent) as temporary:
        openvino.save_model(model, temporary / "a.xml", compress_to_fp16=False)


@pytest.mark.parametrize(
    "write",
    [
        save_tensors,
        save_checkpoint,
        save_onnx,
        save_openvino,
        lambda path: write_json(path, list(range(100))),
        lambda path: write_text(path, "a" * 100),
    ],
)
def test_every_library_that_writes_files_leaves_no_partial_file(tmp_path: Path, write: Callable[[Path], None]) -> None:
    assert_unchanged_by_a_full_disk(tmp_path, lambda: write(tmp_path / "a.bin"))


def test_fold_plan_and_prepared_images_leave_no_partial_file(tmp_path: Path, data: Path) -> None:
    manifest = open_dataset(data, include_normal=False)
    plan = make_folds(manifest, (), "paper", 0, 2)
    assert_unchanged_by_a_full_disk(tmp_path / "folds", lambda: write_folds(plan, tmp_path / "folds" / "plan.json"))
    with full_disk(), pytest.raises(StorageError, match="safetensors"):
        prepare(manifest, 32, 1, tmp_path / "cache")
    assert not files_of(tmp_path / "cache")


def test_mined_regions_leave_no_partial_file(tmp_path: Path) -> None:
    regions = Regions(
        ("a",), torch.zeros(1, 1, 32, 32, dtype=torch.uint8), torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    )
    mined = MinedRegions(regions, Provenance({}, {}, 32, 1, "", ("a",)))
    assert_unchanged_by_a_full_disk(tmp_path, lambda: _write_regions(mined, tmp_path))


def test_study_summary_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold: Path) -> None:
    scores = pd.read_csv(fold / "scores.csv")
    record = fold_record(recipe("short-unet"), scores.to_dict("records"))
    monkeypatch.setattr(cross_validate, "read_fold", lambda folder: FoldResult(folder, scores, record))
    study = tmp_path / "study"
    write_text(study / "fold-0" / "result.json", "{}")
    assert_unchanged_by_a_full_disk(study, lambda: cross_validate.summarise_study(study))
    assert (study / "summary.json").is_file()


def test_copied_result_leaves_no_partial_file(tmp_path: Path, fold: Path) -> None:
    write_text(fold / "history.csv", "epoch,loss\n" + "1,0.5\n" * 100)
    folder = tmp_path / "busi" / "demo-unet" / "grouped" / "fold-0"
    experiment = get_recipe("demo-unet")
    target_cell, source = (
        Cell(experiment, ("data",), "busi", "grouped", 0, out, target, "key", 3)
        for out, target in ((tmp_path, folder), (fold.parents[3], fold))
    )
    with full_disk(), pytest.raises(StorageError):
        copy_result(target_cell, source)
    assert not files_of(tmp_path)


def test_phantoms_and_data_export_leave_no_partial_file(tmp_path: Path, data: Path) -> None:
    with full_disk(), pytest.raises(StorageError, match="Cannot write"):
        write_phantom_busi(tmp_path / "phantoms", 1, 0, 0, seed=1, size=(64, 64))
    assert not list((tmp_path / "phantoms").rglob("*.png"))
    manifest = open_dataset(data, include_normal=False)
    assert_unchanged_by_a_full_disk(tmp_path / "export", lambda: export_monai(manifest, tmp_path / "export"))


@pytest.mark.parametrize(
    "words",
    [
        ("report", "RUNS", "-o", "OUT/results.md"),
        ("report", "RUNS", "-o", "OUT/report"),
        ("data", "check", "DATA", "--report", "OUT/page.html"),
        ("figures", "RUNS", "--data", "DATA", "--figure", "11", "--method", "unet", "--dpi", "72", "-o", "OUT"),
        ("evaluate", "WEIGHTS", "--data", "DATA", "-o", "OUT"),
        ("evaluate", "WEIGHTS", "--data", "DATA", "--card", "OUT/card.md"),
        ("package-weights", "FOLD", "-o", "OUT/packed", "--no-graph"),
    ],
)
def test_commands_leave_no_partial_file(tmp_path: Path, data: Path, fold: Path, words: tuple[str, ...]) -> None:
    runs = fold.parents[3]
    if words[0] == "report":
        write_run(runs := tmp_path.with_name("summaries"), recipe("short-unet"), [lesion_row("a", 0.5)])
    places = {"RUNS": runs, "DATA": data, "OUT": tmp_path, "WEIGHTS": fold / "weights", "FOLD": fold}
    command = [str(places[word]) if word in places else word.replace("OUT", str(tmp_path)) for word in words]

    def run() -> None:
        result = CliRunner().invoke(app, command)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output

    assert_unchanged_by_a_full_disk(tmp_path, run)
    assert files_of(tmp_path)
