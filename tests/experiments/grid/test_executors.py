"""Worker processes end when their parent process ends."""

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


def sleep_long(pid_file: Path) -> None:
    """Work of the test worker: write its process id to `note` and sleep."""
    partial = pid_file.with_suffix(".part")
    partial.write_text(str(os.getpid()))
    partial.replace(pid_file)
    time.sleep(300)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.timeout(200)
def test_worker_ends_when_parent_is_killed(tmp_path: Path) -> None:
    program, pid_file = tmp_path / "parent.py", tmp_path / "worker"
    program.write_text(PARENT)
    tests = Path(__file__).parents[2]
    search = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, str(program), str(pid_file)], env={**os.environ, "PYTHONPATH": search})
    worker = 0
    try:
        deadline = time.monotonic() + 120
        while not pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        worker = int(pid_file.read_text())
        assert is_running(worker)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 20
        while is_running(worker) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not is_running(worker)
    finally:
        parent.kill()
        parent.wait()
        if worker and is_running(worker):
            os.kill(worker, signal.SIGKILL)
