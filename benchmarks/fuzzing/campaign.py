"""The campaign: sends inputs to a worker, stops inputs that hang, and stores the findings and the state."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fuzzing.target import random_for
from fuzzing.worker import MODULES, Outcome, load_targets, work
from taichinet.storage.atomic import write_json

KINDS = ("crash", "hang", "memory", "wrong", "died")
MOST_SECONDS = 10.0
_EXAMPLES = 3  # kept of each signature
_START_SECONDS = 300.0
_ROUND = 20  # inputs of a target of weight 10 before the next target's turn


@dataclass
class State:
    """State of a campaign. `done` and `outcomes` are by target, `findings` by signature."""

    seed: int
    commit: str | None
    seconds: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Inputs done."""
        return sum(self.done.values())


class Worker:
    """A worker process and its connection; started again if it was stopped or died."""

    def __init__(self, modules: tuple[str, ...], out: Path, seed: int) -> None:
        self._arguments = (modules, out / "seeds", out / "scratch", seed)
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._answers: Connection
        self.targets: dict[str, tuple[int, str]] = {}

    def start(self) -> None:
        """Start the process and wait until its targets are ready."""
        context = multiprocessing.get_context("spawn")
        self._answers, answering = context.Pipe(duplex=False)
        asked, self._connection = context.Pipe(duplex=False)
        self._process = context.Process(target=work, args=(asked, answering, *self._arguments), daemon=True)
        self._process.start()
        answering.close()
        asked.close()
        if not self._answers.poll(_START_SECONDS):
            raise RuntimeError("The worker of the fuzzer does not start.")
        self.targets = self._answers.recv()

    def run(self, target: str, index: int, most_seconds: float) -> Outcome:
        """The outcome of one input; an input that takes too long or ends the process is a finding."""
        if self._process is None or self._connection is None:
            self.start()
        assert self._connection is not None  # noqa: S101 - for the type checker
        self._connection.send((target, index))
        if not self._answers.poll(most_seconds):
            self.stop()
            return Outcome("hang", f"more than {most_seconds:g} s", f"{target} hang")
        try:
            outcome: Outcome = self._answers.recv()
        except EOFError:
            assert self._process is not None  # noqa: S101 - for the type checker
            self._process.join()
            code = self._process.exitcode
            self.stop()
            return Outcome("died", f"the process ended with code {code}", f"{target} died {code}")
        if outcome.kind == "memory":
            self.stop()  # its memory would hide the next finding
        return outcome

    def stop(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._connection = None


def read_state(path: Path, seed: int, commit: str | None) -> State:
    """The state of an earlier call with the same seed and commit; a new one otherwise."""
    if path.is_file():
        state = State(**json.loads(path.read_text(encoding="utf-8")))
        if (state.seed, state.commit) == (seed, commit):
            return state
    return State(seed, commit)


def campaign(
    state: State,
    out: Path,
    seconds: float,
    most_inputs: int,
    modules: tuple[str, ...] = MODULES,
    most_seconds: float = MOST_SECONDS,
    only: tuple[str, ...] = (),
) -> State:
    """Try inputs for `seconds`, or until `most_inputs` in all are done; the state is written after every round."""
    if not state.total:  # what an earlier commit made
        shutil.rmtree(out / "seeds", ignore_errors=True)
        shutil.rmtree(out / "findings", ignore_errors=True)
    worker = Worker(modules, out, state.seed)
    try:
        worker.start()
        began, before = time.monotonic(), state.seconds
        state.commands = {name: command for name, (_, command) in worker.targets.items()}
        chosen = {name: weight for name, (weight, _) in worker.targets.items() if not only or name in only}
        for target in _turns(chosen):
            state.seconds = before + time.monotonic() - began
            if state.seconds - before >= seconds or state.total >= most_inputs:
                break
            for _ in range(min(max(_ROUND * chosen[target] // 10, 1), most_inputs - state.total)):
                index = state.done.get(target, 0)
                _count(state, target, index, worker.run(target, index, most_seconds), out)
            write_json(out / "state.json", vars(state))
    finally:
        worker.stop()
    _save_examples(state, out, modules)
    write_json(out / "state.json", vars(state))
    shutil.rmtree(out / "scratch", ignore_errors=True)
    return state


def _turns(weights: dict[str, int]) -> Iterator[str]:
    while weights:
        yield from weights


def _count(state: State, target: str, index: int, outcome: Outcome, out: Path) -> None:
    state.done[target] = index + 1
    counts = state.outcomes.setdefault(target, {})
    counts[outcome.kind] = counts.get(outcome.kind, 0) + 1
    if outcome.kind not in KINDS:
        return
    finding = state.findings.setdefault(
        outcome.signature,
        {"kind": outcome.kind, "target": target, "count": 0, "fault": outcome.fault, "examples": []},
    )
    finding["count"] += 1
    if len(finding["examples"]) < _EXAMPLES:
        finding["examples"].append(index)


def _save_examples(state: State, out: Path, modules: tuple[str, ...]) -> None:
    """Write the inputs of the findings as files with a JSON description, generated again from their index."""
    if not state.findings:
        return
    targets = load_targets(modules, out / "seeds")
    for finding in state.findings.values():
        for index in finding["examples"]:
            name = finding["target"]
            folder = out / "findings" / f"{name}-{index}"
            if name not in targets or folder.with_suffix(".json").is_file():
                continue
            case = targets[name].make(random_for(state.seed, name, index))
            case.write(folder)
            write_json(
                folder.with_suffix(".json"),
                {
                    "target": name,
                    "command": targets[name].command,
                    "kind": finding["kind"],
                    "fault": finding["fault"],
                    "seed": state.seed,
                    "index": index,
                    "words": list(case.words),
                    "files": sorted(case.files),
                },
            )
