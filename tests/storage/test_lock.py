"""Locks: one owner at a time; the lock of a dead process is taken over, that of a running process never."""

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


def test_held_lock_is_rejected_with_its_owner_and_free_after_release(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    start = time.monotonic()
    with locked(path), pytest.raises(LockedError, match=r"process \d+ on .*delete"), locked(path):
        pass
    assert time.monotonic() - start < 5
    assert not path.exists()
    with locked(path):
        assert path.exists()


def test_lock_of_killed_process_is_taken_over_immediately(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    subprocess.run([sys.executable, "-c", KILLED_OWNER, str(path)], check=False)
    assert path.exists()
    start = time.monotonic()
    with locked(path):
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("wait", [False, True])
def test_unrenewed_lock_of_another_machine_is_taken_over_and_reported(
    tmp_path: Path, wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps(OTHER_MACHINE))
    start = time.monotonic()
    with caplog.at_level(logging.WARNING), locked(path, wait=wait, stale_seconds=0.4):
        assert time.monotonic() - start >= 0.4
        assert json.loads(path.read_text())["pid"] == os.getpid()
    waiting, taking_over = caplog.messages
    assert "process 2 on node9" in waiting
    assert "Taking over" in taking_over
    assert not list(tmp_path.iterdir())


def test_renewed_lock_of_another_machine_is_rejected(tmp_path: Path) -> None:
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
def test_empty_or_damaged_lock_is_taken_over(tmp_path: Path, content: bytes, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(content)
    start = time.monotonic()
    with locked(tmp_path / "lock", stale_seconds=0.4):
        assert time.monotonic() - start < 1.5 * 0.4 + 2  # with the real 60 s this is at most 90 s
    assert not (tmp_path / "lock").exists()


def test_stale_lock_and_stale_guard_need_only_one_waiting_time(tmp_path: Path) -> None:
    for name in ("lock", "lock.takeover"):
        (tmp_path / name).write_text("")
    start = time.monotonic()
    with locked(tmp_path / "lock", stale_seconds=2):
        assert time.monotonic() - start < 1.5 * 2 + 0.5


@pytest.mark.parametrize("options", [("--mount-proc",), ()])
def test_lock_of_process_killed_in_another_pid_namespace_is_taken_over(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "lock"
    new_namespace = ["unshare", "--pid", "--fork", *options, "sh", "-c", '"$@"; true', "sh"]  # sh is its first process
    if (
        shutil.which("unshare") is None
        or subprocess.run([*new_namespace, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this system does not allow a new PID namespace")
    subprocess.run([*new_namespace, sys.executable, "-c", KILLED_OWNER, str(path)], check=False, capture_output=True)
    assert json.loads(path.read_text())["pid"] == 2
    with locked(path, stale_seconds=0.4):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_process_number_of_another_namespace_is_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Process 1 always runs in the outer namespace; it is unrelated to process 1 of an inner namespace.
    path = tmp_path / "lock"
    owner = {"pid": 1, "host": "here", "machine": module._machine(), "started": module._started(1), "token": "x"}
    path.write_text(json.dumps(owner))
    with pytest.raises(LockedError), locked(path, stale_seconds=0.4):
        pass
    monkeypatch.setattr(module, "_lists_own_processes", lambda: False)
    with locked(path, stale_seconds=0.4):
        pass


def test_full_disk_leaves_no_empty_lock(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path; from taichinet.storage.lock import locked\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with locked(Path(sys.argv[1])): pass"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "lock")], check=False, capture_output=True, text=True
    )
    assert "StorageError: Cannot write the lock" in process.stderr
    assert not list(tmp_path.iterdir())


def test_unwritable_folder_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="lock"), locked(tmp_path / "file" / "lock"):
        pass


def test_renewed_lock_is_kept_beyond_the_waiting_time_of_others(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, stale_seconds=0.4):
        for _ in range(8):
            time.sleep(0.15)
            with pytest.raises(LockedError), locked(path, stale_seconds=0.4):
                pass


def test_process_that_lost_its_lock_is_stopped_and_keeps_the_new_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, stale_seconds=0.2) as lock:
        path.write_text(json.dumps({"pid": 1, "host": "node9", "machine": "another", "token": "y"}))
        assert lock.lost.wait(5)
        with pytest.raises(LockedError, match="taken over"):
            lock.verify()
    assert "node9" in path.read_text()


def test_only_one_of_many_processes_takes_over_a_stale_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 2**22 + 5, "machine": module._machine(), "started": "1", "token": "z"}))
    owners, most_owners, acquisitions = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal owners, most_owners, acquisitions
        with locked(path, wait=True):
            with guard:
                owners += 1
                most_owners, acquisitions = max(most_owners, owners), acquisitions + 1
            time.sleep(0.02)
            with guard:
                owners -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most_owners, acquisitions) == (1, 6)
