"""Workers end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import sys
from pathlib import Path
from experiments.grid.test_executors import sleep_long
from taichinet.experiments.grid.executors import Processes

if __name__ == "__main__":
    executor = Processes(1, threads=1, work=sleep_long)
    executor.start(Path(sys.argv[1]))
    executor.wait(300)
"""


def sleep_long(note: Path) -> None:
    """The work of the worker: say which process it is, and never end."""
    partial = note.with_suffix(".part")
    partial.write_text(str(os.getpid()))
    partial.replace(note)
    time.sleep(300)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.timeout(200)
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program, note = tmp_path / "parent.py", tmp_path / "worker"
    program.write_text(PARENT)
    tests = Path(__file__).parents[2]
    search = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, str(program), str(note)], env={**os.environ, "PYTHONPATH": search})
    worker = 0
    try:
        deadline = time.monotonic() + 120
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        worker = int(note.read_text())
        assert runs(worker)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 20
        while runs(worker) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not runs(worker)
    finally:
        parent.kill()
        parent.wait()
        if worker and runs(worker):
            os.kill(worker, signal.SIGKILL)
