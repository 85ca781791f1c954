"""No command speaks to another machine: seen by the kernel's calls (strace) and by Python's own audit events.

All commands run once under both, one after the other in one process. Creating a socket is no communication, and
AF_UNIX and AF_NETLINK stay on the machine: only a connection of, or something sent by, AF_INET and AF_INET6 is one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import BuildOnce

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
PROGRAM = """
import json, os, socket, sys
from pathlib import Path
from taichinet.cli.app import main

marks = socket.socketpair()
codes = {}
for name, words in json.loads(sys.argv[1]).items():
    marks[0].send(f"<{name}>".encode())  # strace shows it between the calls of two commands
    marks[1].recv(100)
    with open(os.environ["AUDIT_LOG"], "a") as log:
        log.write(f"<{name}>\\n")
    sys.argv = ["taichinet", *words]
    try:
        main()
    except SystemExit as ended:
        codes[name] = ended.code or 0
Path("codes.json").write_text(json.dumps(codes))
"""
MARK = re.compile(r"<([a-z ]+)>")
WITHOUT_DATA = {"help": ["--help"], "models": ["models"], "data list": ["data", "list"]}
RUNTIMES = {"eager": "", "onnx": "onnxruntime", "openvino": "openvino"}
INSTALLED = [name for name, package in RUNTIMES.items() if not package or find_spec(package)]

Sent = dict[str, dict[str, list[str]]]
"""By the way in which it was seen ("audit", and "strace" if installed) and by command: what was communicated."""


def trace(words: list[str], folder: Path) -> dict[str, list[str]]:
    """Audit events of `python WORDS`, run in `folder`, and its calls for the network, with the marks between them."""
    (folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    calls, events = folder / "calls.strace", folder / "events.audit"
    traced = [STRACE, "-f", "--seccomp-bpf", "-e", "trace=network", "-o", str(calls)] if STRACE else []
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    events.touch()
    ended = subprocess.run(
        [*traced, sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "AUDIT_LOG": str(events)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen = {"audit": events.read_text(encoding="utf-8").splitlines()}
    if STRACE:
        seen["strace"] = calls.read_text(encoding="utf-8", errors="replace").splitlines()
    return seen


def sent_by(lines: list[str], way: str) -> dict[str, list[str]]:
    """The lines that are communication, by the command whose mark comes before them."""
    command, sent = "start", dict[str, list[str]]()
    for line in lines:
        if mark := MARK.search(line):
            command = mark[1]
            sent.setdefault(command, [])
        elif way == "audit" or SENT.search(line):
            sent.setdefault(command, []).append(line)
    return sent


def trace_commands(folder: Path) -> Sent:
    """The communication of the commands without data, of a training, and of an export and a prediction per runtime."""
    data = str(write_phantom_busi(folder / "phantoms", 10, 10, 8, seed=1, size=(64, 64)))
    weights = "runs/busi/demo-taichinet/grouped/fold-0/weights"
    commands = dict(WITHOUT_DATA)
    commands["train"] = ["train", "demo-taichinet", "--data", data, "--fold", "0", "-o", "runs", *settings()]
    for runtime in INSTALLED:
        if runtime != "eager":
            file = "lesion.onnx" if runtime == "onnx" else "lesion.xml"
            export = ["export", weights, "--format", runtime, "--images", f"busi={data}", "-o", file]
            commands[f"export {runtime}"] = export
        words = ["predict", f"{data}/benign", "-w", weights, "--runtime", runtime, "-o", f"out-{runtime}"]
        commands[f"predict {runtime}"] = words
    seen = trace(["-c", PROGRAM, json.dumps(commands)], folder)
    assert json.loads((folder / "codes.json").read_text()) == dict.fromkeys(commands, 0)
    sent = {way: sent_by(lines, way) for way, lines in seen.items()}
    assert all(set(commands) <= set(by_command) for by_command in sent.values()), "a mark is missing"
    return sent


@pytest.fixture(scope="module")
def sent(build_once: BuildOnce, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    def write(path: Path) -> None:
        path.write_text(json.dumps(trace_commands(tmp_path_factory.mktemp("traced"))), encoding="utf-8")

    sent: Sent = json.loads(build_once("communication.json", write).read_text(encoding="utf-8"))
    return sent


@pytest.fixture(params=["audit", "strace"])
def way(request: pytest.FixtureRequest) -> str:
    """How communication is looked for."""
    if request.param == "strace" and STRACE is None:
        pytest.skip("strace is not installed; the audit events of Python are checked")
    return str(request.param)


def test_a_connection_would_be_seen(tmp_path: Path, way: str) -> None:
    code = (
        "import os, socket; marks = socket.socketpair(); marks[0].send(b'<connect>');"
        "open(os.environ['AUDIT_LOG'], 'a').write('<connect>\\n');"
        "s = socket.socket(); s.settimeout(5); s.connect_ex(('127.0.0.1', 9))"
    )
    (found,) = sent_by(trace(["-c", code], tmp_path)[way], way).values()
    assert len(found) == 1


@pytest.mark.parametrize("command", WITHOUT_DATA)
def test_a_command_without_data_communicates_with_nobody(command: str, sent: Sent, way: str) -> None:
    assert sent[way].get("start", []) == []  # when Python and the package are imported
    assert sent[way][command] == []


def test_a_training_communicates_with_nobody(sent: Sent, way: str) -> None:
    assert sent[way]["train"] == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_prediction_communicates_with_nobody(runtime: str, sent: Sent, way: str) -> None:
    if runtime not in INSTALLED:
        pytest.skip(f"needs {RUNTIMES[runtime]}")
    assert sent[way].get(f"export {runtime}", []) == []
    assert sent[way][f"predict {runtime}"] == []


def test_the_switches_against_telemetry_are_set() -> None:
    code = "import os, taichinet; print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['ORT_DISABLE_TELEMETRY'])"
    changed = {**os.environ, "RAY_USAGE_STATS_ENABLED": "1"}
    printed = subprocess.run([sys.executable, "-c", code], env=changed, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["0", "1"]
