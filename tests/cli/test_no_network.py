"""No command communicates with another machine, checked by system calls (strace) and Python's audit events.

All commands run once under both, in sequence in one process. Only connecting or sending with AF_INET or AF_INET6
counts as communication: creating a socket does not, and AF_UNIX and AF_NETLINK are local to the machine.
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

NAME_EVENTS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request")
SEND_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg")

def hook(event, args):
    if event in NAME_EVENTS or (event in SEND_EVENTS and args[0].family.name in ("AF_INET", "AF_INET6")):
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
for name, args in json.loads(sys.argv[1]).items():
    marks[0].send(f"<{name}>".encode())  # separates the calls of two commands in the output of strace
    marks[1].recv(100)
    with open(os.environ["AUDIT_LOG"], "a") as log:
        log.write(f"<{name}>\\n")
    sys.argv = ["taichinet", *args]
    try:
        main()
    except SystemExit as stopped:
        codes[name] = stopped.code or 0
Path("codes.json").write_text(json.dumps(codes))
"""
MARK = re.compile(r"<([a-z ]+)>")
WITHOUT_DATA = {"help": ["--help"], "models": ["models"], "data list": ["data", "list"]}
RUNTIMES = {"eager": "", "onnx": "onnxruntime", "openvino": "openvino"}
INSTALLED = [name for name, package in RUNTIMES.items() if not package or find_spec(package)]

Sent = dict[str, dict[str, list[str]]]
"""The lines with communication, by method ("audit", and "strace" if installed) and by command."""


def trace(args: list[str], folder: Path) -> dict[str, list[str]]:
    """Audit events and network calls of `python ARGS`, run in `folder`, with the marks between commands."""
    (folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    calls, events = folder / "calls.strace", folder / "events.audit"
    traced = [STRACE, "-f", "--seccomp-bpf", "-e", "trace=network", "-o", str(calls)] if STRACE else []
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    events.touch()
    process = subprocess.run(
        [*traced, sys.executable, *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "AUDIT_LOG": str(events)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    lines_by_method = {"audit": events.read_text(encoding="utf-8").splitlines()}
    if STRACE:
        lines_by_method["strace"] = calls.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines_by_method


def sent_by(lines: list[str], method: str) -> dict[str, list[str]]:
    """The lines with communication, by the command whose mark precedes them."""
    command, sent = "start", dict[str, list[str]]()
    for line in lines:
        if mark := MARK.search(line):
            command = mark[1]
            sent.setdefault(command, [])
        elif method == "audit" or SENT.search(line):
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
        args = ["predict", f"{data}/benign", "-w", weights, "--runtime", runtime, "-o", f"out-{runtime}"]
        commands[f"predict {runtime}"] = args
    lines_by_method = trace(["-c", PROGRAM, json.dumps(commands)], folder)
    assert json.loads((folder / "codes.json").read_text()) == dict.fromkeys(commands, 0)
    sent = {method: sent_by(lines, method) for method, lines in lines_by_method.items()}
    assert all(set(commands) <= set(by_command) for by_command in sent.values()), "a mark is missing"
    return sent


@pytest.fixture(scope="module")
def sent(build_once: BuildOnce, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    def write(path: Path) -> None:
        path.write_text(json.dumps(trace_commands(tmp_path_factory.mktemp("traced"))), encoding="utf-8")

    sent: Sent = json.loads(build_once("communication.json", write).read_text(encoding="utf-8"))
    return sent


@pytest.fixture(params=["audit", "strace"])
def method(request: pytest.FixtureRequest) -> str:
    """The method that detects communication."""
    if request.param == "strace" and STRACE is None:
        pytest.skip("strace is not installed; the audit events of Python are checked")
    return str(request.param)


def test_connection_is_detected(tmp_path: Path, method: str) -> None:
    code = (
        "import os, socket; marks = socket.socketpair(); marks[0].send(b'<connect>');"
        "open(os.environ['AUDIT_LOG'], 'a').write('<connect>\\n');"
        "s = socket.socket(); s.settimeout(5); s.connect_ex(('127.0.0.1', 9))"
    )
    (lines,) = sent_by(trace(["-c", code], tmp_path)[method], method).values()
    assert len(lines) == 1


@pytest.mark.parametrize("command", WITHOUT_DATA)
def test_command_without_data_does_not_use_the_network(command: str, sent: Sent, method: str) -> None:
    assert sent[method].get("start", []) == []  # during the import of Python and the package
    assert sent[method][command] == []


def test_training_does_not_use_the_network(sent: Sent, method: str) -> None:
    assert sent[method]["train"] == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_export_and_prediction_do_not_use_the_network(runtime: str, sent: Sent, method: str) -> None:
    if runtime not in INSTALLED:
        pytest.skip(f"needs {RUNTIMES[runtime]}")
    assert sent[method].get(f"export {runtime}", []) == []
    assert sent[method][f"predict {runtime}"] == []


def test_telemetry_is_disabled() -> None:
    code = "import os, taichinet; print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "1"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["0", "1"]
