"""What a user or a machine breaks off: Ctrl-C in `compare`, the death of one process under torchrun."""

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

EPOCHS = 24  # seconds of training after the signal, on any machine
SETTINGS = {**TINY, "training.epochs": EPOCHS, "training.batch_size": 4, "training.precision": "float32"}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
PATIENCE = 120  # seconds

pytestmark = [
    pytest.mark.skipif(not (shutil.which("ps") and shutil.which("pgrep")), reason="needs ps and pgrep"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 2, seed=1, size=(64, 80))


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, as a shell starts it: that is what a terminal's Ctrl-C reaches."""
    with default_interrupt():
        process = subprocess.Popen(
            [str(word) for word in words],
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
    """The processes that `parent` has started and that still run."""
    found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True).stdout.split()
    return [pid for pid in map(int, found) if alive(pid)]


def alive(pid: int) -> bool:
    """Whether the process still runs; one that has ended and only waits to be asked for its end does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def assert_ended(pids: list[int], why: str) -> None:
    """Within PATIENCE; what is left then is killed."""
    began = time.monotonic()
    while left := [pid for pid in pids if alive(pid)]:
        if time.monotonic() - began > PATIENCE:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(why)
        time.sleep(0.1)


def epochs(folder: Path) -> list[float]:
    """The losses of the epochs that a run folder has, oldest first."""
    history = folder / "history.csv"
    return list(pd.read_csv(history)["loss"]) if history.is_file() and history.stat().st_size else []


def wait_for_epochs(folders: list[Path], process: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    while not any(len(epochs(folder)) >= 3 for folder in folders):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < PATIENCE, "no epoch was finished"
        time.sleep(0.02)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_a_comparison_and_the_same_command_finishes_it(data: Path, tmp_path: Path, jobs: int) -> None:
    suite = tmp_path / "suite.yaml"
    parts = [{"data": "busi", "recipes": ["unet", "attention-unet"][:jobs]}]
    suite.write_text(yaml.safe_dump({"scale": "short", "folds": [0], "set": SETTINGS, "parts": parts}))
    words = (sys.executable, "-m", "taichinet", "compare", suite, "--data", data, "-o", tmp_path / "runs", "-j", jobs)
    folders = [tmp_path / f"runs/busi/short-{name}/grouped/fold-0" for name in parts[0]["recipes"]]
    with started(*words) as process:
        wait_for_epochs(folders, process)
        trainings = children(process.pid)
        assert len(trainings) >= (jobs > 1) * jobs
        os.killpg(process.pid, signal.SIGINT)
        _, heard = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, heard
        assert "Interrupted. Run the same command again" in heard
        assert "Traceback" not in heard
        assert_ended(trainings, "a training outlived its comparison")
    before = [epochs(folder) for folder in folders]
    assert any(3 <= len(losses) < EPOCHS for losses in before), "interrupted too late to say anything"
    finished = json.loads(run(*words[3:], "--json"))
    assert [cell["state"] for cell in finished["cells"]] == ["done"] * jobs
    for folder, losses in zip(folders, before, strict=True):
        assert len(epochs(folder)) == EPOCHS
        # The last line may be of an epoch whose checkpoint was not yet written; that one is trained again.
        assert epochs(folder)[: max(len(losses) - 1, 0)] == losses[:-1]


def test_the_death_of_one_process_ends_all_and_one_alone_goes_on(data: Path, tmp_path: Path) -> None:
    train = ["-m", "taichinet", "train", "short-unet", "--data", data, "--out", tmp_path, "--fold", 0, "--json"]
    train += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    folder = tmp_path / "busi/short-unet/grouped/fold-0"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    with started(*launcher, *train) as process:
        wait_for_epochs([folder], process)
        ranks = children(process.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        assert_ended(ranks, "a process waits for the dead one")
        _, heard = process.communicate(timeout=PATIENCE)
        assert process.returncode != 0, heard
    before = epochs(folder)
    assert 3 <= len(before) < EPOCHS
    assert not (folder / "result.json").exists()
    run(*train[2:], "--resume")
    assert len(epochs(folder)) == EPOCHS
    assert epochs(folder)[: len(before) - 1] == before[:-1]


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
def test_a_killed_training_of_another_machine_is_taken_over_and_finished(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """A lock of a process that cannot be looked up here: only its age tells that the process is gone."""
    stale = 2.0
    train = ["train", "cpu-unet", "--data", data, "--fold", 0, "--json"]
    train += [word for key, value in {**SETTINGS, "training.epochs": 4}.items() for word in ("--set", f"{key}={value}")]
    words = [str(word) for word in (sys.executable, "-c", KILLED_TRAINING, *train, "--out", tmp_path / "killed")]
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; true', "sh"]
    if place == "another PID namespace":
        if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True).returncode:
            pytest.skip("this system does not allow a new PID namespace")
        words = [*inside, *words]
    subprocess.run(words, env=ENVIRONMENT, capture_output=True, timeout=PATIENCE)
    folder = tmp_path / "killed/busi/cpu-unet/grouped/fold-0"
    held = folder / "lock"
    owner = json.loads(held.read_text())
    if place == "another host":
        owner |= {"host": "node9", "machine": "node9 another boot"}
        held.write_text(json.dumps(owner))
    assert (folder / "checkpoint.pt").exists()
    assert not (folder / "result.json").exists()

    monkeypatch.setattr(lock, "STALE_SECONDS", stale)
    with caplog.at_level(logging.WARNING):
        run(*train, "--out", tmp_path / "killed", "--resume")
    heard = [record for record in caplog.records if record.name == lock.__name__]
    waiting, taking_over = heard
    assert f"process {owner['pid']} on {owner['host']}" in waiting.message
    assert "Taking over" in taking_over.message
    assert 0.9 * stale <= taking_over.created - waiting.created <= 1.5 * stale + 2
    assert not held.exists()
    run(*train, "--out", tmp_path / "undisturbed")
    for file in ("weights/model.safetensors", "scores.csv"):
        undisturbed = tmp_path / "undisturbed/busi/cpu-unet/grouped/fold-0" / file
        assert (folder / file).read_bytes() == undisturbed.read_bytes(), file
    assert len(epochs(folder)) == 4
