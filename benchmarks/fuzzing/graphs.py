"""Targets with an exported graph: ONNX and OpenVINO next to the weights, their records, and the runner."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from fuzzing.data import folder_files
from fuzzing.mutations import mutate_bytes, mutate_json
from fuzzing.networks import read_files, tiny_weights
from fuzzing.target import Case, Target, WrongValueError
from taichinet import runner
from taichinet.errors import WeightsError
from taichinet.inference.runtimes.choose import open_runtime, validated_records
from taichinet.models.weights import load_weights

_IMAGE = "case0.png"


def _exported(seeds: Path, form: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of a weights folder after `taichinet export`, and the files that were written for the runner."""
    weights, out = seeds / form / "weights", seeds / form / "out"
    if (seeds / form / "done").exists():  # made by an earlier worker of the same campaign
        return read_files(weights), read_files(out)
    tiny_weights(weights)
    Case(folder_files()).write(seeds / form / "data")
    out.mkdir(parents=True, exist_ok=True)
    output = out / ("model.onnx" if form == "onnx" else "model.xml")
    words = ["export", str(weights), "--format", form, "--images", f"folder={seeds / form / 'data'}", "-o", str(output)]
    done = subprocess.run([sys.executable, "-m", "taichinet", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"taichinet {' '.join(words)}: {done.stderr}")
    (seeds / form / "done").touch()
    return read_files(weights), read_files(out)


def _pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32), dtype=np.uint8)


def _make_graph(files: dict[str, bytes], endings: tuple[str, ...], random: Random) -> Case:
    name = random.choice([name for name in files if name.endswith(endings) and name.startswith("runtimes/")])
    return Case({**files, name: mutate_bytes(random, files[name])})


def _check_graph(form: str, reference: NDArray[np.float32], folder: Path, _: Case) -> None:
    """A damaged graph is refused, or gives the outputs of the intact one."""
    runtime = open_runtime(form, load_weights(folder), folder)
    try:
        answer = runtime.maps(_pixels()).lesion
    except Exception as fault:
        raise WrongValueError(f"a damaged graph is opened, then fails ({type(fault).__name__})") from fault
    if answer.shape != reference.shape or not np.allclose(answer, reference, atol=1e-4):
        raise WrongValueError("a damaged graph is opened and answers differently")


def _make_record(files: dict[str, bytes], random: Random) -> Case:
    name = random.choice([name for name in files if name.startswith("runtimes/") and name.endswith(".json")])
    return Case({**files, name: mutate_json(random, json.loads(files[name]))})


def _check_record(folder: Path, _: Case) -> None:
    """A record that is accepted names a graph in its own folder; others are skipped."""
    beside = (folder / "runtimes").resolve()
    for record in validated_records(folder):
        if not (beside / record.graph).resolve().is_relative_to(beside):
            raise WrongValueError(f"the record's graph {record.graph!r} is outside of its folder")
    open_runtime("auto", load_weights(folder), folder)


def _make_model(model: bytes, image: bytes, random: Random) -> Case:
    return Case({"model.onnx": mutate_bytes(random, model), _IMAGE: image})


def _check_model(folder: Path, _: Case) -> None:
    """The runner refuses a damaged model with a message and an exit code, or gives the mask of the intact one.

    The file is the user's own and may be copied anywhere: a model that opens and differs is not a finding here, since
    no digest is kept with it.
    """
    out = folder / "out"
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = runner.main([str(folder / "model.onnx"), str(folder / _IMAGE), "-o", str(out)])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    if code:
        raise WeightsError(f"exit code {code}")
    if not (out / "case0_mask.png").is_file():
        raise WrongValueError("the runner ends with exit code 0 and without a mask")


def targets(seeds: Path) -> list[Target]:
    """The targets of this file; `seeds` is a folder to write into."""
    found = []
    for form, endings in (("onnx", (".onnx",)), ("openvino", (".xml", ".bin"))):
        files, written = _exported(seeds, form)
        weights = seeds / form / "weights"
        reference = open_runtime(form, load_weights(weights), weights).maps(_pixels()).lesion
        make, check = partial(_make_graph, files, endings), partial(_check_graph, form, reference)
        found.append(Target(form, f"predict --runtime {form}", make, check, 2 if form == "onnx" else 1))
        if form == "onnx":
            image = folder_files()["images/case0.png"]
            found.append(Target("record", "predict", partial(_make_record, files), _check_record, 5))
            model = partial(_make_model, written["model.onnx"], image)
            found.append(Target("runner", "python -m taichinet.runner", model, _check_model, 2))
    return found
