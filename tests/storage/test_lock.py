"""Locks: one owner at a time; taken over from the dead, never from the living."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from taichinet.errors import LockedError, StorageError
from taichinet.storage import lock as module
from taichinet.storage.lock import locked

OTHER_MACHINE = {"pid": 2, "host": "node9", "machine": "another", "started": "1", "token": "x"}

KILLED_OWNER = (
    "import os, signal, sys; from pathlib import Path; from taichinet.storage.lock import locked\n"
    "with locked(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
)


def test_a_held_lock_is_refused_at_once_with_its_owner_and_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    began = time.monotonic()
    with locked(path), pytest.raises(LockedError, match=r"process \d+ on .*delete"), locked(path):
        pass
    assert time.monotonic() - began < 5
    assert not path.exists()
    with locked(path):
        assert path.exists()


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    subprocess.run([sys.executable, "-c", KILLED_OWNER, str(path)], check=False)
    assert path.exists()
    began = time.monotonic()
    with locked(path):
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("wait", [False, True])
def test_a_lock_of_another_machine_that_is_not_renewed_is_taken_over_and_reported(
    tmp_path: Path, wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps(OTHER_MACHINE))
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), locked(path, wait=wait, stale_seconds=0.4):
        assert time.monotonic() - began >= 0.4
        assert json.loads(path.read_text())["pid"] == os.getpid()
    waiting, taking_over = caplog.messages
    assert "process 2 on node9" in waiting
    assert "Taking over" in taking_over
    assert not list(tmp_path.iterdir())


def test_a_lock_of_another_machine_that_is_renewed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps(OTHER_MACHINE))
    done = threading.Event()

    def renew() -> None:
        while not done.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(LockedError, match="process 2 on node9"), locked(path, stale_seconds=2):
            pass
    finally:
        done.set()
        thread.join()
    assert json.loads(path.read_text()) == OTHER_MACHINE


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[" * 100_000, b"[1]"])
@pytest.mark.parametrize("names", [("lock",), ("lock", "lock.takeover"), ("lock.takeover",)])
def test_an_empty_or_damaged_lock_is_taken_over(tmp_path: Path, content: bytes, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(content)
    began = time.monotonic()
    with locked(tmp_path / "lock", stale_seconds=0.4):
        assert time.monotonic() - began < 1.5 * 0.4 + 2  # with the real 60 s this is at most 90 s
    assert not (tmp_path / "lock").exists()


def test_a_lock_and_its_guard_that_died_together_are_waited_for_once(tmp_path: Path) -> None:
    for name in ("lock", "lock.takeover"):
        (tmp_path / name).write_text("")
    began = time.monotonic()
    with locked(tmp_path / "lock", stale_seconds=2):
        assert time.monotonic() - began < 1.5 * 2 + 0.5


@pytest.mark.parametrize("options", [("--mount-proc",), ()])
def test_the_lock_of_a_process_killed_in_another_pid_namespace_is_taken_over(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "lock"
    inside = ["unshare", "--pid", "--fork", *options, "sh", "-c", '"$@"; true', "sh"]  # sh is the first process in it
    if (
        shutil.which("unshare") is None
        or subprocess.run([*inside, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this system does not allow a new PID namespace")
    subprocess.run([*inside, sys.executable, "-c", KILLED_OWNER, str(path)], check=False, capture_output=True)
    assert json.loads(path.read_text())["pid"] == 2
    with locked(path, stale_seconds=0.4):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_process_number_is_not_looked_up_in_the_proc_of_another_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Process 1 always runs in the outer namespace; that says nothing of process 1 of an inner one.
    path = tmp_path / "lock"
    owner = {"pid": 1, "host": "here", "machine": module._machine(), "started": module._started(1), "token": "x"}
    path.write_text(json.dumps(owner))
    with pytest.raises(LockedError), locked(path, stale_seconds=0.4):
        pass
    monkeypatch.setattr(module, "_lists_own_processes", lambda: False)
    with locked(path, stale_seconds=0.4):
        pass


def test_a_full_disk_leaves_no_empty_lock(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path; from taichinet.storage.lock import locked\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with locked(Path(sys.argv[1])): pass"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "lock")], check=False, capture_output=True, text=True
    )
    assert "StorageError: Cannot write the lock" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="lock"), locked(tmp_path / "file" / "lock"):
        pass


def test_a_lock_that_is_renewed_outlives_the_patience_of_others(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, stale_seconds=0.4):
        for _ in range(8):
            time.sleep(0.15)
            with pytest.raises(LockedError), locked(path, stale_seconds=0.4):
                pass


def test_a_process_that_lost_its_lock_is_stopped_and_leaves_the_new_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, stale_seconds=0.2) as mine:
        path.write_text(json.dumps({"pid": 1, "host": "node9", "machine": "another", "token": "y"}))
        assert mine.lost.wait(5)
        with pytest.raises(LockedError, match="taken over"):
            mine.verify()
    assert "node9" in path.read_text()


def test_of_many_that_want_a_dead_lock_one_at_a_time_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 2**22 + 5, "machine": module._machine(), "started": "1", "token": "z"}))
    inside, most, turns = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, turns
        with locked(path, wait=True):
            with guard:
                inside += 1
                most, turns = max(most, inside), turns + 1
            time.sleep(0.02)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 6)
