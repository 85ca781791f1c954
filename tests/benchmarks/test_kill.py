"""The fault injector: its trials, its comparison of results, and the reliability page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import kill  # noqa: E402
import reliability  # noqa: E402


def test_trials_of_every_command_depend_only_on_the_seed() -> None:
    trials = kill.trials(0, 40, 10)

    assert trials == kill.trials(0, 40, 10) != kill.trials(1, 40, 10)
    assert sum(trial.fault == "SIGKILL" for trial in trials) == 40
    assert {trial.command for trial in trials if trial.fault == "SIGKILL"} == set(kill.commands())
    assert all(0 <= trial.moment <= 1 for trial in trials)


def test_results_differing_only_in_timings_are_equal(tmp_path: Path) -> None:
    def result(name: str, seconds: float, dice: float) -> dict[str, str]:
        out = tmp_path / name / "out"
        out.mkdir(parents=True)
        (out / "summary.json").write_text(json.dumps({"wall_seconds": seconds, "folds": [{"dice": dice}]}))
        (out / "scores.csv").write_text(f"key,dice,seconds\na,{dice},{seconds}\n")
        (out / "lock").write_text(name)
        return kill.result_of(tmp_path / name, json.dumps({"seconds": seconds, "dice": dice}))

    plain = result("plain", 1, 0.5)
    assert kill.differences(plain, result("slower", 2, 0.5)) == []
    assert kill.differences(plain, result("wrong", 1, 0.6)) == ["out/scores.csv", "out/summary.json", "stdout"]
    assert kill.differences(plain, {}) == sorted(plain)


@pytest.mark.parametrize(
    ("fault", "code", "expected"),
    [
        ("SIGKILL", "import time; time.sleep(60)", []),
        ("full disk", "raise OSError('no space')", ["a traceback: OSError: no space"]),
    ],
)
def test_command_is_stopped_and_traceback_is_a_finding(
    fault: str, code: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda words, **options: popen([sys.executable, "-c", code], **options))
    findings: list[str] = []
    trial = kill.Trial("predict", fault, 0.5)

    returncode = kill.disturb(trial, kill.commands()["predict"], {"seconds": 1.0, "largest": 100}, tmp_path, findings)

    assert returncode == (-9 if fault == "SIGKILL" else 1)
    assert findings == expected


def test_surviving_child_process_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    monkeypatch.setattr(subprocess, "Popen", lambda words, **options: popen([sys.executable, "-c", code], **options))
    monkeypatch.setattr(kill, "SURVIVOR_SECONDS", 0.5)
    findings: list[str] = []

    kill.disturb(
        kill.Trial("predict", "SIGKILL", 1.0), kill.commands()["predict"], {"seconds": 2.0}, tmp_path, findings
    )

    assert len(findings) == 1
    assert "live on" in findings[0]


def test_committed_page_matches_the_records() -> None:
    page = reliability.page(*map(reliability.read, reliability.RECORDS))

    assert reliability.PAGE.read_text(encoding="utf-8") == page


def test_page_lists_each_finding() -> None:
    machine = {"processor": "a processor", "torch": "2"}
    kinds = dict.fromkeys(("accepted", "refused", "crash", "hang", "memory", "wrong", "died"), 1)
    fuzz = {
        "inputs": 7,
        "seconds": 1,
        "seed": 0,
        "targets": {"image": {"command": "predict", "inputs": 7, **kinds}},
        "findings": [{"target": "image", "kind": "crash", "count": 1, "fault": "KeyError: 'x'"}],
    }
    bad = {"command": "train", "fault": "SIGKILL", "moment": 0.5, "findings": ["other result"]}
    counts = {"SIGKILL": {"train": {"trials": 3, "with_findings": 1}}}
    kills = {"seed": 0, "undisturbed_seconds": {"train": 9.0}, "counts": counts, "trials": [bad]}
    origin = {"commit": "abc", "machine": machine}

    rows = [
        {"file": "a.py", "old": "x + 1", "new": "x", "outcome": outcome, "commit": "abc"}
        for outcome in ("killed", "killed", "survived")
    ]
    mutations = {"counts": {"killed": 2, "survived": 1}, "mutations": rows}

    text = reliability.page({**fuzz, **origin}, {**kills, **origin}, mutations)

    assert "- image, crash, 1 times: `KeyError: 'x'`" in text
    assert "| `a.py` | 3 | 2 | 1 |" in text
    assert "- `a.py`: `x + 1` became `x`" in text
    assert "| train | 9 | 2 of 3 |" in text
    assert "- train, SIGKILL at 0.50: `other result`" in text
