"""Ends commands at random moments, fills their disk, makes their folders read-only; then runs them again.

    python benchmarks/kill.py --kills 40 --full-disk 10 --seed 0

Each command of `commands` runs on tiny phantoms. After each fault no damaged file may be accepted, SIGTERM may lose no
completed epoch, and the same command, with --resume where it needs that, must complete with the files of an
undisturbed run, apart from timings. A call goes on where the last one of the same seed and commit ended. Writes
results/benchmarks/kill.json; exit code 1 where there is a finding.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import torch
import yaml

from taichinet.cli import compare_budget
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.experiments.records import RESULT_FILE
from taichinet.experiments.training_run import HISTORY_FILE
from taichinet.signals import EXIT_TERMINATED
from taichinet.storage.atomic import TEMPORARY_SUFFIX, write_json
from taichinet.storage.output_folder import MANIFEST
from taichinet.training.checkpoint import CURRENT, PREVIOUS

RECORD = Path(__file__).parents[1] / "results/benchmarks/kill.json"
TAKEOVER_SECONDS = 90.0
SURVIVOR_SECONDS = 15.0
SETTINGS = {"options.width": 4, "data.size": 32, "data.folds": 2, "data.validation_share": 0.25, "training.epochs": 4}
EVERY_EPOCH = "train, checkpoint after every epoch"
NO_INTERVAL = "from taichinet.training import checkpoint_writer; checkpoint_writer.CHECKPOINT_SECONDS = 0"
_OUTPUTS = ("runs", "out")
_TIMINGS = ("second", "minute", "speed", "faster", "wall", "date", "time", "load", "written_at")
_OF_THE_CALL = ("done_before",)  # true of what an interrupted call had finished: no part of the result
_IGNORED = ("lock", "seconds", ".parity.md", ".tmp", ".pt")


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        name: Its name in the record.
        words: The command line.
        again: Words that are added when it is given again after a fault.
        disturbed: Words that are added when it is disturbed.
        setup: Python code that is executed before the command.
    """

    name: str
    words: tuple[str, ...]
    again: tuple[str, ...] = ()
    disturbed: tuple[str, ...] = ()
    setup: str = ""

    def program(self, more: tuple[str, ...] = ()) -> list[str]:
        """The arguments of the process."""
        if not self.setup:
            return [sys.executable, "-m", "taichinet", *self.words, *more]
        code = f"{self.setup}; from taichinet.cli.app import main; main()"
        return [sys.executable, "-c", code, *self.words, *more]


@dataclass(frozen=True)
class Trial:
    """A fault: "SIGKILL", "SIGTERM", "full disk", "read-only" or "lock", at `moment` (0 to 1) of the command's time.

    Of "full disk", `moment` is the share of the largest file's size at which writing fails, on a logarithmic scale.
    """

    command: str
    fault: str
    moment: float


@dataclass
class State:
    """How far the trials are: durations, files and outcomes by trial."""

    seed: int
    commit: str | None
    plain: dict[str, dict[str, Any]] = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)


def commands() -> dict[str, Command]:
    """The commands, for a folder with `data`, `trained` and `suite.yaml`."""
    settings = tuple(word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}"))
    data = "busi=data"
    train = ("train", "demo-unet", "--data", data, "--protocol", "paper", *settings, "-o", "runs")
    compare = ("compare", "suite.yaml", "--data", data, "-o", "runs", "--json")
    made = (
        Command("train", train, ("--resume",)),
        Command(EVERY_EPOCH, (*train, "--fold", "0", "--set", "training.epochs=80"), ("--resume",), setup=NO_INTERVAL),
        Command("compare", compare),
        Command("compare --budget", (*compare, "--budget", "20m"), disturbed=("--budget", "15s")),
        Command("predict", ("predict", "data/malignant", "-w", "trained", "-o", "out")),
        Command("evaluate", ("evaluate", "study", "--data", data, "-o", "out")),
        Command("data check", ("data", "check", data, "--report", "out/page.html", "--json")),
        Command("data export", ("data", "export", data, "--format", "monai", "-o", "out")),
        Command("data bundle", ("data", "bundle", data, "--size", "32", "-o", "out/busi.zip")),
        Command("archive", ("archive", "study", "-o", "out", "--with-weights")),
        Command("archive --unpack", ("archive", "--unpack", "packed", "-o", "runs")),
        Command("export", ("export", "trained", "--images", data, "-o", "out/model.onnx")),
    )
    return {command.name: command for command in made}


def prepare(folder: Path) -> None:
    """Write what all commands read: phantoms, a suite, a trained study and its weights."""
    if (folder / "ready").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_phantom_busi(folder / "data", 12, 12, 8, seed=1, size=(64, 80))
    suite = {
        "scale": "demo",
        "folds": [0],
        "set": SETTINGS,
        "parts": [{"data": "busi", "recipes": ["unet", "model-1"]}],
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    _must_complete(call(commands()["train"].program(), folder))
    weights = next((folder / "runs").rglob("model.safetensors")).parent
    shutil.copytree(weights, folder / "trained")
    shutil.copytree(weights.parent.parent, folder / "study")
    shutil.rmtree(folder / "runs")
    for words in (("study", "-o", "packed", "--with-weights"), ("packed", "-o", "unpacked", "--unpack")):
        _must_complete(call(Command("", ("archive", *words)).program(), folder))
    (folder / "ready").touch()


def _must_complete(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise RuntimeError(f"A command that the others need fails: {done.stderr}")


def call(program: list[str], folder: Path, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """A process, run to its end within `folder`."""
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=seconds)


def fresh(ready: Path, folder: Path, command: str) -> Path:
    """A new folder with the inputs."""
    if folder.exists():
        _set_mode(folder, 0o755)
        shutil.rmtree(folder)
    shutil.copytree(ready, folder)
    if command != "data export":  # whose folder must be new or an earlier export
        (folder / "out").mkdir()
    return folder


def result_of(folder: Path, stdout: str) -> dict[str, str]:
    """The digest of every file that the command wrote, without timings, and of its JSON on stdout."""
    files = [path for name in (*_OUTPUTS, "trained") for path in sorted((folder / name).rglob("*")) if path.is_file()]
    found = {
        str(path.relative_to(folder)): hashlib.sha256(_without_timings(path)).hexdigest()[:16]
        for path in files
        if not any(word in path.name for word in _IGNORED)
        and TEMPORARY_SUFFIX not in {folder.suffix for folder in path.parents}
    }
    with suppress(ValueError):
        found["stdout"] = hashlib.sha256(json.dumps(_strip(json.loads(stdout))).encode()).hexdigest()[:16]
    return found


def _without_timings(path: Path) -> bytes:
    if path.name == MANIFEST:  # digests of files with timings
        return json.dumps(sorted(json.loads(path.read_text(encoding="utf-8")))).encode()
    if path.suffix == ".json":
        return json.dumps(_strip(json.loads(path.read_text(encoding="utf-8")))).encode()
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        return bytes(table[[name for name in table if not _is_timing(str(name))]].to_csv().encode())
    return path.read_bytes()


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strip(inner) for key, inner in sorted(value.items()) if not _is_timing(key)}
    return [_strip(inner) for inner in value] if isinstance(value, list) else value


def _is_timing(name: str) -> bool:
    return name in _OF_THE_CALL or any(word in name.lower() for word in _TIMINGS)


def undisturbed(command: Command, ready: Path, work: Path) -> dict[str, Any]:
    """Duration, files and largest file of two undisturbed runs, which must agree."""
    results, began = [], 0.0
    for _ in range(2):
        folder = fresh(ready, work / "plain", command.name)
        began = time.monotonic()
        done = call(command.program(), folder)
        if done.returncode:
            raise RuntimeError(f"{command.name} fails undisturbed: {done.stderr}")
        results.append(result_of(folder, done.stdout))
    if wrong := differences(results[0], results[1]):
        raise RuntimeError(f"{command.name}: two undisturbed runs differ in {', '.join(wrong)}")
    sizes = [path.stat().st_size for name in _OUTPUTS for path in (folder / name).rglob("*") if path.is_file()]
    return {"seconds": time.monotonic() - began, "largest": max(sizes, default=1), "result": results[0]}


def differences(one: dict[str, str], two: dict[str, str]) -> list[str]:
    """Names that only one of two results has, or that differ."""
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def trials(seed: int, kills: int, full_disk: int, only: Sequence[str] = ()) -> list[Trial]:
    """`kills` SIGKILLs and `full_disk` full disks, a quarter as many SIGTERMs, half as many read-only folders.

    They are of all commands, or of `only` those with these names.
    """
    random = Random(seed)  # noqa: S311 - not for secrets
    counts = {"SIGKILL": kills, "full disk": full_disk, "SIGTERM": kills // 4, "read-only": full_disk // 2}
    names = list(only or commands())
    drawn = [
        Trial(names[number % len(names)], fault, round(random.random(), 4))
        for fault, count in counts.items()
        for number in range(count)
    ]
    locks = (0.0, 0.5, 1.0) if kills and "train" in names else ()
    return [*drawn, *(Trial("train", "lock", moment) for moment in locks)]


def run_trial(trial: Trial, plain: dict[str, Any], ready: Path, work: Path) -> dict[str, Any]:
    """Give the command, cause the fault, give it again; what is wrong afterwards is in "findings"."""
    command = commands()[trial.command]
    folder = fresh(ready, work / "trial", command.name)
    findings: list[str] = []
    code = disturb(trial, command, plain, folder, findings)
    findings += [*wrong_exit(trial, code), *lost_epochs(trial, folder), *accepted_damage(command, plain, folder)]
    began = time.monotonic()
    locks = sum(Path(name).name == "result.json" for name in plain["result"])  # one per run folder, one after another
    limit = TAKEOVER_SECONDS * max(1, locks) + 5 * plain["seconds"]
    try:
        done = call(command.program(command.again), folder, limit)
    except subprocess.TimeoutExpired:
        findings.append(f"the same command does not end within {limit:.0f} s")
    else:
        if done.returncode:
            findings.append(f"the same command ends with exit code {done.returncode}: {_last_line(done.stderr)}")
        elif wrong := differences(plain["result"], _result(folder, done.stdout, findings)):
            findings.append(f"other result than undisturbed: {', '.join(wrong[:4])}")
    return {
        **asdict(trial),
        "exit_code": code,
        "again_seconds": round(time.monotonic() - began, 1),
        "findings": findings,
    }


def _result(folder: Path, stdout: str, findings: list[str]) -> dict[str, str]:
    try:
        return result_of(folder, stdout)
    except (OSError, ValueError) as fault:
        findings.append(f"a file cannot be read afterwards: {fault}")
        return {}


def wrong_exit(trial: Trial, code: int | None) -> list[str]:
    """After SIGTERM: not 143 of a training or prediction, -15 of other work, or the one of a command that had ended."""
    ended = (0, compare_budget.EXIT_CODE) if "budget" in trial.command else (0,)
    if trial.fault == "SIGTERM" and code not in (*ended, EXIT_TERMINATED, -signal.SIGTERM):
        return [f"exit code {code} after SIGTERM"]
    return []


def lost_epochs(trial: Trial, folder: Path) -> list[str]:
    """Run folders whose checkpoint has fewer epochs than their history.

    SIGTERM may lose no completed epoch. SIGKILL may lose the one that is being written, if all are written.
    """
    if trial.fault != "SIGTERM" and (trial.fault, trial.command) != ("SIGKILL", EVERY_EPOCH):
        return []
    lost = []
    for history in (folder / "runs").rglob(HISTORY_FILE):
        completed = len(pd.read_csv(history))
        kept = max((_epoch(history.with_name(name)) for name in (CURRENT, PREVIOUS)), default=0)
        if not (history.parent / RESULT_FILE).exists() and kept < completed - (trial.fault == "SIGKILL"):
            lost.append(f"{completed} epochs were completed, and the checkpoint has {kept}")
    return lost


def _epoch(checkpoint: Path) -> int:
    """The completed epochs of a checkpoint; 0 if it cannot be read."""
    try:
        return int(torch.load(checkpoint, weights_only=True)["epoch"])
    except Exception:  # noqa: BLE001 - almost any exception for a truncated file
        return 0


def accepted_damage(command: Command, plain: dict[str, Any], folder: Path) -> list[str]:
    """Damaged files that a reader would accept: a bundle, an archive, or the run folder of a completed fold."""
    problems: list[str] = []
    found = _result(folder, "", problems)
    if command.name == "archive":
        done = call(Command("", ("archive", "--unpack", "out", "-o", "checked")).program(), folder)
        files = _contents(folder / "checked")
        wrong = [name for name, content in files.items() if content != _contents(folder / "unpacked").get(name)]
        shutil.rmtree(folder / "checked", ignore_errors=True)
        if done.returncode not in (0, 3) or (done.returncode and files):
            problems.append(f"unpacking ends with exit code {done.returncode} and {len(files)} files")
    elif command.name == "data bundle":
        wrong = [name for name in found if name in plain["result"] and found[name] != plain["result"][name]]
    elif command.name == "archive --unpack":
        complete = {Path(name).parent for name in found if Path(name).name == RESULT_FILE}
        wrong = [
            name
            for name, digest in plain["result"].items()
            if complete.intersection(Path(name).parents) and found.get(name) != digest
        ]
    else:
        wrong = []
    return [*problems, *(f"damaged and accepted: {name}" for name in wrong[:4])]


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def disturb(trial: Trial, command: Command, plain: dict[str, Any], folder: Path, findings: list[str]) -> int | None:
    """Run the command with the fault; its exit code, None where it never ran."""
    if trial.fault == "lock":
        leave_lock(trial.moment, command, plain, folder)
        return None
    setup: Callable[[], object] | None = None
    if trial.fault == "full disk":
        most = max(1, int(plain["largest"] ** trial.moment))
        setup = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # noqa: E731
    if trial.fault == "read-only":
        setup = _without_override
    with (folder / "stderr.txt").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command.program(command.disturbed),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if trial.fault == "full disk" else errors,  # a pipe is never full
            start_new_session=True,
            preexec_fn=setup,
        )
        if trial.fault != "full disk":
            with suppress(subprocess.TimeoutExpired):
                process.wait(trial.moment * plain["seconds"])
        if process.poll() is None and trial.fault in ("SIGKILL", "SIGTERM"):
            process.send_signal(signal.Signals[trial.fault])
        if trial.fault == "read-only":
            _set_mode(folder, 0o555)
        try:
            _, errors_text = process.communicate(timeout=TAKEOVER_SECONDS + 5 * plain["seconds"])
        except subprocess.TimeoutExpired:
            findings.append("the disturbed command does not end")
            os.killpg(process.pid, signal.SIGKILL)
            _, errors_text = process.communicate()
    _set_mode(folder, 0o755)
    _end_survivors(process.pid, findings)
    text = errors_text.decode(errors="replace") if errors_text else (folder / "stderr.txt").read_text(errors="replace")
    if "Traceback (most recent call last)" in text:
        findings.append(f"a traceback: {_last_line(text)}")
    (folder / "stderr.txt").unlink()
    return process.returncode


def leave_lock(moment: float, command: Command, plain: dict[str, Any], folder: Path) -> None:
    """Leave the lock of a process that is gone beside each run: an empty file, a torn one, or another machine's."""
    texts = (
        "",
        '{"pid": 2, "ho',
        json.dumps({"pid": 2, "host": "gone", "machine": "gone", "started": "1", "token": "x"}),
    )
    for name in sorted(plain["result"]):
        if Path(name).name == "result.json":
            run = folder / Path(name).parent
            run.mkdir(parents=True)
            (run / "lock").write_text(texts[round(2 * moment)], encoding="utf-8")
            (run / "lock.takeover").write_text("", encoding="utf-8")


def _without_override() -> None:
    """Root may write into any folder: give that right up for good (PR_CAPBSET_DROP of CAP_DAC_OVERRIDE)."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def _set_mode(folder: Path, mode: int) -> None:
    """Of `folder` and all folders below."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        with suppress(FileNotFoundError):
            path.chmod(mode)


def _end_survivors(group: int, findings: list[str]) -> None:
    """A process of the command that is still there after a while is a finding."""
    until = time.monotonic() + SURVIVOR_SECONDS
    while _alive(group):
        if time.monotonic() > until:
            findings.append(f"processes of the command live on for {SURVIVOR_SECONDS:.0f} s")
            os.killpg(group, signal.SIGKILL)
            return
        time.sleep(0.2)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def record(state: State) -> dict[str, Any]:
    """The trials and, by fault and command, how many there were and how many had a finding."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for trial in state.trials:
        entry = counts.setdefault(trial["fault"], {}).setdefault(trial["command"], {"trials": 0, "with_findings": 0})
        entry["trials"] += 1
        entry["with_findings"] += bool(trial["findings"])
    return {
        "what": "commands disturbed, then given again",
        "seed": state.seed,
        "undisturbed_seconds": {name: round(entry["seconds"], 1) for name, entry in state.plain.items()},
        "counts": counts,
        "trials": state.trials,
        "commit": state.commit,
        "machine": describe_machine(),
    }


def read_state(path: Path, seed: int, commit: str | None) -> State:
    """The state of an earlier call with the same seed and commit; a new one otherwise."""
    if path.is_file():
        state = State(**json.loads(path.read_text(encoding="utf-8")))
        if (state.seed, state.commit) == (seed, commit):
            return state
    return State(seed, commit)


def main() -> int:
    """Run the trials that are not done yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="SIGKILLs; a quarter as many SIGTERMs follow")
    parser.add_argument("--full-disk", type=int, default=10, help="half as many read-only folders follow")
    parser.add_argument("--command", action="append", default=[], choices=list(commands()), help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/kill"), help="folder of the state and the trials")
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    out = arguments.output.resolve()
    state = read_state(out / "state.json", arguments.seed, source_commit())
    if not state.plain:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    prepare(out / "ready")
    done = [Trial(trial["command"], trial["fault"], trial["moment"]) for trial in state.trials]
    for trial in trials(arguments.seed, arguments.kills, arguments.full_disk, arguments.command):
        if trial in done:
            continue
        if trial.command not in state.plain:
            state.plain[trial.command] = undisturbed(commands()[trial.command], out / "ready", out)
        state.trials.append(run_trial(trial, state.plain[trial.command], out / "ready", out))
        print(json.dumps(state.trials[-1]), flush=True)
        write_json(out / "state.json", vars(state))
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.record, record(state))
    return 1 if any(trial["findings"] for trial in state.trials) else 0


if __name__ == "__main__":
    sys.exit(main())
