"""Interrupted commands: Ctrl-C in `compare`, and killed processes of `train`, also under torchrun."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import default_interrupt

from cli.test_commands import TINY, run
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.storage import lock

EPOCHS = 24  # enough that training continues for seconds after the signal
SETTINGS = {**TINY, "training.epochs": EPOCHS, "training.batch_size": 4, "training.precision": "float32"}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
TIMEOUT = 120  # seconds

pytestmark = [
    pytest.mark.skipif(not (shutil.which("ps") and shutil.which("pgrep")), reason="needs ps and pgrep"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 2, seed=1, size=(64, 80))


@contextmanager
def start_process(*args: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command in its own process group, as a shell does; a terminal sends Ctrl-C to the whole group."""
    with default_interrupt():
        process = subprocess.Popen(
            [str(arg) for arg in args],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for pid in (process.pid, *children(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def children(parent: int) -> list[int]:
    """The running child processes of `parent`."""
    pids = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True).stdout.split()
    return [pid for pid in map(int, pids) if is_running(pid)]


def is_running(pid: int) -> bool:
    """Whether the process runs; a zombie process does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def assert_ended(pids: list[int], message: str) -> None:
    """Assert that the processes end within TIMEOUT; the remaining ones are killed."""
    start = time.monotonic()
    while remaining := [pid for pid in pids if is_running(pid)]:
        if time.monotonic() - start > TIMEOUT:
            for pid in remaining:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(message)
        time.sleep(0.1)


def epochs(folder: Path) -> list[float]:
    """The losses of the finished epochs of a run folder, oldest first."""
    history = folder / "history.csv"
    return list(pd.read_csv(history)["loss"]) if history.is_file() and history.stat().st_size else []


def wait_for_epochs(folders: list[Path], process: subprocess.Popen[str]) -> None:
    start = time.monotonic()
    while not any(len(epochs(folder)) >= 3 for folder in folders):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - start < TIMEOUT, "no epoch was finished"
        time.sleep(0.02)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_compare_and_rerun_completes(data: Path, tmp_path: Path, jobs: int) -> None:
    suite = tmp_path / "suite.yaml"
    parts = [{"data": "busi", "recipes": ["unet", "attention-unet"][:jobs]}]
    suite.write_text(yaml.safe_dump({"scale": "short", "folds": [0], "set": SETTINGS, "parts": parts}))
    args = (sys.executable, "-m", "taichinet", "compare", suite, "--data", data, "-o", tmp_path / "runs", "-j", jobs)
    folders = [tmp_path / f"runs/busi/short-{name}/grouped/fold-0" for name in parts[0]["recipes"]]
    with start_process(*args) as process:
        wait_for_epochs(folders, process)
        trainings = children(process.pid)
        assert len(trainings) >= (jobs > 1) * jobs
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130, stderr
        assert "Interrupted. Run the same command again" in stderr
        assert "Traceback" not in stderr
        assert_ended(trainings, "a training continued after compare ended")
    before = [epochs(folder) for folder in folders]
    assert any(3 <= len(losses) < EPOCHS for losses in before), "interrupted after training had finished"
    finished = json.loads(run(*args[3:], "--json"))
    assert [cell["state"] for cell in finished["cells"]] == ["done"] * jobs
    for folder, losses in zip(folders, before, strict=True):
        assert len(epochs(folder)) == EPOCHS
        # The last line may belong to an epoch without a checkpoint yet; that epoch is trained again.
        assert epochs(folder)[: max(len(losses) - 1, 0)] == losses[:-1]


def test_killed_rank_stops_all_ranks_and_one_process_resumes(data: Path, tmp_path: Path) -> None:
    train = ["-m", "taichinet", "train", "short-unet", "--data", data, "--output", tmp_path, "--fold", 0, "--json"]
    train += [arg for key, value in SETTINGS.items() for arg in ("--set", f"{key}={value}")]
    folder = tmp_path / "busi/short-unet/grouped/fold-0"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    with start_process(*launcher, *train) as process:
        wait_for_epochs([folder], process)
        ranks = children(process.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        assert_ended(ranks, "a process waits for the killed one")
        _, stderr = process.communicate(timeout=TIMEOUT)
        assert process.returncode != 0, stderr
    before = epochs(folder)
    assert 3 <= len(before) < EPOCHS
    assert not (folder / "result.json").exists()
    run(*train[2:], "--resume")
    assert len(epochs(folder)) == EPOCHS
    # Epochs after the last checkpoint are trained again, by one process: the results agree up to rounding.
    assert epochs(folder)[: len(before) - 1] == pytest.approx(before[:-1], rel=1e-4)


KILLED_TRAINING = (
    "import os, signal\n"
    "from taichinet.cli import app, progress\n"
    "def epoch(self, phase, row, epochs):\n"
    "    if (phase, row['epoch']) == ('train', 2):\n"
    "        os.kill(os.getpid(), signal.SIGKILL)\n"
    "progress.TrainingProgress.epoch = epoch\n"
    "app.main()\n"
)


@pytest.mark.parametrize("place", ["another host", "another PID namespace"])
def test_killed_training_of_another_machine_is_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """The lock belongs to a process that cannot be looked up here, so only its age shows that the process ended."""
    stale = 2.0
    train = ["train", "cpu-unet", "--data", data, "--fold", 0, "--json"]
    train += [arg for key, value in {**SETTINGS, "training.epochs": 4}.items() for arg in ("--set", f"{key}={value}")]
    args = [str(arg) for arg in (sys.executable, "-c", KILLED_TRAINING, *train, "--output", tmp_path / "killed")]
    new_namespace = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; true', "sh"]
    if place == "another PID namespace":
        if not shutil.which("unshare") or subprocess.run([*new_namespace, "true"], capture_output=True).returncode:
            pytest.skip("this system does not allow a new PID namespace")
        args = [*new_namespace, *args]
    subprocess.run(args, env=ENVIRONMENT, capture_output=True, timeout=TIMEOUT)
    folder = tmp_path / "killed/busi/cpu-unet/grouped/fold-0"
    lock_file = folder / "lock"
    owner = json.loads(lock_file.read_text())
    if place == "another host":
        owner |= {"host": "node9", "machine": "node9 another boot"}
        lock_file.write_text(json.dumps(owner))
    assert (folder / "checkpoint.pt").exists()
    assert not (folder / "result.json").exists()

    monkeypatch.setattr(lock, "STALE_SECONDS", stale)
    with caplog.at_level(logging.WARNING):
        run(*train, "--output", tmp_path / "killed", "--resume")
    warnings = [record for record in caplog.records if record.name == lock.__name__]
    waiting, takeover = warnings
    assert f"process {owner['pid']} on {owner['host']}" in waiting.message
    assert "Taking over" in takeover.message
    assert 0.9 * stale <= takeover.created - waiting.created <= 1.5 * stale + 2
    assert not lock_file.exists()
    run(*train, "--output", tmp_path / "undisturbed")
    for file in ("weights/model.safetensors", "scores.csv"):
        undisturbed = tmp_path / "undisturbed/busi/cpu-unet/grouped/fold-0" / file
        assert (folder / file).read_bytes() == undisturbed.read_bytes(), file
    assert len(epochs(folder)) == 4
