"""Claims: one owner at a time, taken over from the dead, never from the living."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from taichinet.errors import ClaimedError
from taichinet.storage import lock as module
from taichinet.storage.lock import claimed


def test_a_held_claim_is_refused_with_its_owner_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run" / "claim"
    with claimed(path), pytest.raises(ClaimedError, match=r"process \d+ on .*delete"), claimed(path):
        pass
    assert not path.exists()
    with claimed(path):
        assert path.exists()


def test_the_claim_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    program = (
        "import os, signal, sys; from pathlib import Path; from taichinet.storage.lock import claimed\n"
        "with claimed(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert path.exists()
    with claimed(path):
        pass


def test_a_claim_of_another_machine_is_taken_over_only_when_it_is_not_renewed(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    path.write_text(json.dumps({"pid": 1, "host": "node9", "machine": "another", "started": "1", "token": "x"}))
    with pytest.raises(ClaimedError, match="process 1 on node9"), claimed(path, stale_seconds=0.4):
        pass
    began = time.monotonic()
    with claimed(path, wait=True, stale_seconds=0.4):
        assert time.monotonic() - began >= 0.4


def test_a_claim_that_is_renewed_outlives_the_patience_of_others(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    with claimed(path, stale_seconds=0.4):
        for _ in range(8):
            time.sleep(0.15)
            with pytest.raises(ClaimedError), claimed(path, stale_seconds=0.4):
                pass


def test_who_lost_a_claim_is_told_and_leaves_the_new_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    with claimed(path, stale_seconds=0.2) as mine:
        path.write_text(json.dumps({"pid": 1, "host": "node9", "machine": "another", "token": "y"}))
        assert mine.lost.wait(5)
        with pytest.raises(ClaimedError, match="taken over"):
            mine.verify()
    assert "node9" in path.read_text()


def test_of_many_that_want_a_dead_claim_one_at_a_time_has_it(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    path.write_text(json.dumps({"pid": 2**22 + 5, "machine": module._machine(), "started": "1", "token": "z"}))
    inside, most, turns = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, turns
        with claimed(path, wait=True):
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
