"""`torchrun -m taichinet train` writes one run folder, with the same result as one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cli.test_commands import run
from taichinet.datasets.phantoms.folder import write_phantom_busi

SETTINGS = {
    "options.width": 2,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.25,
    "training.epochs": 2,
    "training.batch_size": 4,
    "training.precision": "float32",
    "mining.epochs": 1,
    "mining.batch_size": 4,
    "mining.width": 2,
}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "taichinet")


def train_args(data: Path, out: Path, **changes: object) -> list[str]:
    """Arguments of `train` on fold 0."""
    train = ["train", "cpu-taichinet", "--data", str(data), "--output", str(out), "--fold", "0", "--json"]
    return train + [arg for key, value in {**SETTINGS, **changes}.items() for arg in ("--set", f"{key}={value}")]


def run_two_processes(data: Path, out: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    """Run the training in two processes under torchrun."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*TORCHRUN, *train_args(data, out, **changes)], env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 2, seed=1, size=(96, 128))


def test_two_processes_write_the_same_run_folder_as_one(data: Path, tmp_path: Path) -> None:
    two, one = run_two_processes(data, tmp_path / "two"), run(*train_args(data, tmp_path / "one"))
    assert two.returncode == 0, two.stderr
    assert json.loads(two.stdout)["summary"].keys() == json.loads(one)["summary"].keys()  # printed once
    folders = [tmp_path / name / "busi/cpu-taichinet/grouped/fold-0" for name in ("two", "one")]
    listings = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in folders]
    assert listings[0] == listings[1]
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert results[0]["identity"] == results[1]["identity"]
    assert results[0]["placement"] == results[1]["placement"] + ", 2 processes"
    histories = [pd.read_csv(folder / "history.csv") for folder in folders]
    assert list(histories[0]["epoch"]) == [1, 2]
    assert list(histories[0]["loss"]) == pytest.approx(list(histories[1]["loss"]), rel=1e-4)
    scores = [pd.read_csv(folder / "scores.csv") for folder in folders]
    assert list(scores[0]["key"]) == list(scores[1]["key"])
    assert list(scores[0]["dice"]) == pytest.approx(list(scores[1]["dice"]), abs=0.02)


def test_user_error_is_printed_once_and_ends_all_processes(data: Path, tmp_path: Path) -> None:
    done = run_two_processes(data, tmp_path, **{"training.batch_size": 3})
    assert done.returncode != 0
    assert done.stderr.count("Error: A batch of 3 in 1 micro-batch(es)") == 1
