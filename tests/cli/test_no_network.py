"""No command speaks to another machine: seen by the kernel's calls (strace) and by Python's own audit events.

Each command runs as a process of its own, once, under both. Creating a socket is no communication, and AF_UNIX and
AF_NETLINK stay on the machine: only a connection of, or something sent by, AF_INET and AF_INET6 is one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from cli.test_commands import settings
from taichinet.datasets.phantoms.folder import write_phantom_busi

STRACE = shutil.which("strace")
SENT = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(.*AF_INET6?\b")
HOOK = """
import os, sys

NAMED = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request")
SENDING = ("socket.connect", "socket.sendto", "socket.sendmsg")

def hook(event, args):
    if event in NAMED or (event in SENDING and args[0].family.name in ("AF_INET", "AF_INET6")):
        with open(os.environ["AUDIT_LOG"], "a") as log:
            log.write(f"{event} {args}\\n")

sys.addaudithook(hook)
"""
RUNTIMES = [
    "eager",
    *(
        pytest.param(name, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"needs {package}"))
        for name, package in (("onnx", "onnxruntime"), ("openvino", "openvino"))
    ),
]


@dataclass
class Tracer:
    """Runs programs once each and keeps what they communicated."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self._done: dict[tuple[str, ...], dict[str, list[str]]] = {}

    def run(self, *words: object) -> dict[str, list[str]]:
        """The communication of `python WORDS` by the way it was seen: "audit", and "strace" where it is installed."""
        command = tuple(map(str, words))
        if command not in self._done:
            calls, events = (self.folder / f"{len(self._done)}.{ending}" for ending in ("strace", "audit"))
            traced = [STRACE, "-f", "-e", "trace=network", "-o", str(calls)] if STRACE else []
            path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
            events.touch()
            ended = subprocess.run(
                [*traced, sys.executable, *command],
                env={**os.environ, "PYTHONPATH": path, "AUDIT_LOG": str(events)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            self._done[command] = {"audit": events.read_text(encoding="utf-8").splitlines()}
            if STRACE:
                lines = calls.read_text(encoding="utf-8", errors="replace").splitlines()
                self._done[command]["strace"] = [line for line in lines if SENT.search(line)]
        return self._done[command]

    def taichinet(self, *words: object) -> dict[str, list[str]]:
        """The communication of `taichinet WORDS`."""
        return self.run("-m", "taichinet", *words)


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Tracer:
    return Tracer(tmp_path_factory.mktemp("traced"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 10, 10, 8, seed=1, height=64, width=64)


@pytest.fixture(params=["audit", "strace"])
def way(request: pytest.FixtureRequest) -> str:
    """How communication is looked for."""
    if request.param == "strace" and STRACE is None:
        pytest.skip("strace is not installed; the audit events of Python are checked")
    return str(request.param)


def train_words(data: Path, tracer: Tracer) -> tuple[object, ...]:
    return ("train", "demo-taichinet", "--data", data, "--fold", "0", "-o", tracer.folder / "runs", *settings())


def test_a_connection_would_be_seen(tracer: Tracer, way: str) -> None:
    code = "import socket; s = socket.socket(); s.settimeout(5); s.connect_ex(('127.0.0.1', 9))"
    assert len(tracer.run("-c", code)[way]) == 1


@pytest.mark.parametrize("words", [("--help",), ("models",), ("data", "list")], ids=" ".join)
def test_a_command_without_data_communicates_with_nobody(words: tuple[str, ...], tracer: Tracer, way: str) -> None:
    assert tracer.taichinet(*words)[way] == []


def test_a_training_communicates_with_nobody(data: Path, tracer: Tracer, way: str) -> None:
    assert tracer.taichinet(*train_words(data, tracer))[way] == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_prediction_communicates_with_nobody(runtime: str, data: Path, tracer: Tracer, way: str) -> None:
    tracer.taichinet(*train_words(data, tracer))
    weights = next((tracer.folder / "runs").rglob("fold-0")) / "weights"
    if runtime != "eager":
        file = tracer.folder / ("lesion.onnx" if runtime == "onnx" else "lesion.xml")
        exported = tracer.taichinet("export", weights, "--format", runtime, "--images", f"busi={data}", "-o", file)
        assert exported[way] == []
    words = ("predict", data / "benign", "-w", weights, "--runtime", runtime, "-o", tracer.folder / runtime)
    assert tracer.taichinet(*words)[way] == []


def test_the_switches_against_telemetry_are_set() -> None:
    code = "import os, taichinet; print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['ORT_DISABLE_TELEMETRY'])"
    changed = {**os.environ, "RAY_USAGE_STATS_ENABLED": "1"}
    printed = subprocess.run([sys.executable, "-c", code], env=changed, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["0", "1"]
