"""An installation without the extra `train`: what works without torch, and the message for everything else."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import taichinet
from taichinet.datasets.phantoms.phantom import make_phantom
from taichinet.errors import SettingError
from taichinet.evaluation.masks import resize_probability
from taichinet.extras import TRAIN_MODULES, missing_package
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.inference.runtimes.choose import open_runtime
from taichinet.inference.runtimes.eager import PLAIN, Eager
from taichinet.inference.runtimes.onnx import OnnxRuntime
from taichinet.inference.runtimes.parity import PACKAGED_GRAPH, PACKAGED_RECORD, digest_graph, read_record
from taichinet.inference.shipped import shipped_weights
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import WEIGHTS_FILE, open_weights
from taichinet.storage.digest import digest_file

ROOT = Path(__file__).parents[1]
IMPORT_NAMES = {"scikit-learn": "sklearn"}

HIDE_THE_EXTRA = """
import sys
from importlib.machinery import PathFinder
from taichinet.extras import TRAIN_MODULES

class Others:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in TRAIN_MODULES else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Others
"""
"""Hides the packages of the extra, as if they were not installed."""

RUN = """
import contextlib, io, json
from taichinet.cli.app import main

results = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["taichinet", *command]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps([results, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def run(*commands: list[str], prelude: str = HIDE_THE_EXTRA) -> tuple[list[tuple[int, str, str]], set[str]]:
    """Exit code, output and messages of each command, in one process; and the names of all imported packages."""
    process = subprocess.run(
        [sys.executable, "-c", prelude + RUN, json.dumps(commands)], capture_output=True, text=True, timeout=200
    )
    assert process.returncode == 0, process.stderr
    results, modules = json.loads(process.stdout)
    return [(code, out, err) for code, out, err in results], set(modules)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("images") / "phantom.png"
    Image.fromarray(phantoms(1)[0]).save(file)
    return file


def phantoms(number: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Images of odd sizes."""
    return [
        make_phantom(np.random.default_rng(k), ("benign", "malignant")[k % 2], 201 + 16 * k, 263 - 10 * k).image
        for k in range(number)
    ]


def test_predict_imports_no_package_of_the_extra_and_gives_the_masks_of_pytorch(image: Path, tmp_path: Path) -> None:
    predict = ["predict", str(image), "--mirror", "-o"]
    (with_torch,), modules = run([*predict, str(tmp_path / "a")], prelude="import sys")
    assert with_torch[0] == 0, with_torch
    assert "(onnx (mean with the mirror image) float32)" in with_torch[1]
    assert modules.isdisjoint(TRAIN_MODULES)

    (without_torch, examples), _ = run([*predict, str(tmp_path / "b")], ["data", "examples", "-o", str(tmp_path / "c")])
    assert without_torch[0] == 0, without_torch
    assert examples[0] == 0, examples
    assert len(list((tmp_path / "c" / "images").iterdir())) == 12
    predictor, _ = open_predictor(shipped_weights(), PredictorChoices(runtime="eager", mirror=True))
    expected = predictor.predict(np.asarray(Image.open(image)))
    assert expected.disagreement is not None
    for folder in (tmp_path / "a", tmp_path / "b"):
        (row,) = json.loads((folder / "predictions.json").read_text())
        assert row["device"] == "cpu"
        assert row["presence"] == pytest.approx(expected.presence, abs=1e-4)
        for kind, values in (("probability", expected.probability), ("disagreement", expected.disagreement)):
            written = np.asarray(Image.open(folder / f"phantom_{kind}.png"), dtype=np.float64) / 255
            assert np.abs(written - values).max() < 1 / 255  # half a grey value, and rounding
        assert np.array_equal(np.asarray(Image.open(folder / "phantom_mask.png")) > 0, expected.mask)


def test_what_needs_the_extra_says_so_without_a_traceback(image: Path, tmp_path: Path) -> None:
    weights = copytree(shipped_weights(), tmp_path / "no-graph")
    (weights / PACKAGED_GRAPH).unlink()
    (weights / PACKAGED_RECORD).unlink()
    output = ["-o", str(tmp_path / "out")]
    commands = [
        ["--version"],
        ["train", "cpu-unet", "--data", str(tmp_path), *output],
        ["evaluate", str(weights), "--data", str(tmp_path)],
        ["predict", str(image), *output, "--runtime", "tuned"],
        ["predict", str(image), *output, "--weights", str(weights)],
        ["predict", str(image), *output, "--device", "cuda"],
    ]
    (version, *refused), _ = run(*commands)
    assert version[:2] == (0, f"taichinet {taichinet.__version__}\n")
    for command, (code, _, messages) in zip(commands[1:], refused, strict=True):
        assert code == 4, (command, messages)
        assert "pip install 'taichinet[train]'" in messages
        assert "Traceback" not in messages
    assert "or write a graph" in refused[3][2].lower()

    with pytest.raises(SettingError, match=r"torch.*pip install 'taichinet\[train\]'"):
        raise missing_package(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")) or AssertionError
    assert missing_package(ModuleNotFoundError("No module named 'mine'", name="mine")) is None


def test_extra_is_the_list_of_hidden_modules() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {requirement.partition(">")[0] for requirement in extras["train"]}
    assert {IMPORT_NAMES.get(name, name) for name in names} == set(TRAIN_MODULES)
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][1]
    assert set(contract["forbidden_modules"]) == set(TRAIN_MODULES)


def test_shipped_graph_has_the_tensors_of_the_weights_and_the_outputs_of_pytorch() -> None:
    folder = shipped_weights()
    record = read_record(folder / PACKAGED_RECORD)
    assert record.holds
    assert record.weights_digest == digest_file(folder / WEIGHTS_FILE) == open_weights(folder).config.digest
    assert record.graph_digest == digest_graph([folder / PACKAGED_GRAPH])
    graph = onnx.load(folder / PACKAGED_GRAPH, load_external_data=False).graph
    constants = [t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    # Sizes and limits of the code, and biases of convolutions that have none.
    assert all(len(t.raw_data) <= 64 or not onnx.numpy_helper.to_array(t).any() for t in constants)
    assert {e.value for t in graph.initializer for e in t.external_data if e.key == "location"} == {WEIGHTS_FILE}
    assert sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) < 9e6  # of 20 MB for the wheel

    loaded = load_weights(folder)
    resized = [Image.fromarray(pixels).resize((loaded.config.size,) * 2) for pixels in phantoms(3)]
    batch = np.stack([np.asarray(image.convert("L")) for image in resized])[:, None]
    ours, theirs = OnnxRuntime(folder / PACKAGED_GRAPH, "float32").maps(batch), Eager(loaded.network, PLAIN).maps(batch)
    assert np.abs(ours.lesion - theirs.lesion).max() < 1e-4
    assert ours.disagreement is not None
    assert theirs.disagreement is not None
    assert np.abs(ours.disagreement - theirs.disagreement).max() < 1e-4


@pytest.mark.parametrize("fault", ["other graph", "other weights", "other file", "no record"])
def test_graph_that_is_not_of_the_weights_is_not_used(tmp_path: Path, fault: str) -> None:
    folder = copytree(shipped_weights(), tmp_path / "weights")
    record = json.loads((folder / PACKAGED_RECORD).read_text())
    if fault == "other graph":
        (folder / PACKAGED_GRAPH).write_bytes((folder / PACKAGED_GRAPH).read_bytes() + b" ")
    elif fault == "no record":
        (folder / PACKAGED_RECORD).unlink()
    else:
        record |= {"weights_digest": "0" * 64} if fault == "other weights" else {"graph": "../model.onnx"}
        (folder / PACKAGED_RECORD).write_text(json.dumps(record))
    reports: list[str] = []
    runtime = open_runtime("auto", open_weights(folder), folder, report=reports.append)
    assert runtime.description.name == "tuned"
    reason, _ = reports
    assert PACKAGED_RECORD in reason


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (64, 64), (33, 451), (471, 563), (1025, 37)])
def test_maps_are_resized_as_by_pytorch(size: tuple[int, int]) -> None:
    for side in (16, 64, 224):
        values = np.random.default_rng(side).random((side, side), dtype=np.float32)
        expected = F.interpolate(torch.from_numpy(values)[None, None], size=size, mode="bilinear")[0, 0].numpy()
        resized = resize_probability(values, size)
        assert resized.dtype == np.float32
        assert resized.shape == size
        assert np.abs(resized - expected).max() <= 2**-22  # two units in the last place of a number below 1
