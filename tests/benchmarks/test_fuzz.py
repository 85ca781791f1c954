"""The fuzzer detects artificial faults of each kind, and a short campaign runs on the real entry points."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from fuzz import record  # noqa: E402
from fuzzing.campaign import KINDS, State, campaign, read_state  # noqa: E402
from fuzzing.target import random_for  # noqa: E402
from fuzzing.worker import load_targets  # noqa: E402

SELF_TEST = ("fuzzing.selftest",)
MODULES = ("fuzzing.images", "fuzzing.data", "fuzzing.transport", "fuzzing.networks")


@pytest.fixture(scope="module")
def self_test(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, Path]:
    out = tmp_path_factory.mktemp("fuzz")
    return campaign(State(0, None), out, 60, 26, SELF_TEST, most_seconds=10), out


@pytest.mark.parametrize("kind", KINDS)
def test_artificial_fault_of_each_kind_is_detected(self_test: tuple[State, Path], kind: str) -> None:
    state, out = self_test

    findings = [finding for finding in state.findings.values() if finding["target"] == kind]
    assert [finding["kind"] for finding in findings] == [kind]
    saved = json.loads((out / "findings" / f"{kind}-{findings[0]['examples'][0]}.json").read_text())
    assert (saved["target"], saved["kind"], saved["command"]) == (kind, kind, "none")


def test_rejected_and_correct_inputs_are_not_findings(self_test: tuple[State, Path]) -> None:
    state, _ = self_test

    assert state.outcomes["crash"]["refused"] > 0
    assert state.outcomes["wrong"]["accepted"] > 0
    assert record(state)["inputs"] == 26


def test_campaign_resumes_and_restarts_for_another_commit(self_test: tuple[State, Path]) -> None:
    state, out = self_test

    assert read_state(out / "state.json", 0, None).done == state.done
    assert read_state(out / "state.json", 0, "another").total == 0
    resumed = campaign(read_state(out / "state.json", 0, None), out, 60, 29, SELF_TEST, 5, only=("crash",))
    assert resumed.total == 29
    assert resumed.done["crash"] == state.done["crash"] + 3


@pytest.mark.parametrize("module", MODULES)
def test_input_is_reproducible_from_seed_and_index(module: str, tmp_path: Path) -> None:
    first = load_targets((module,), tmp_path / "one")
    second = load_targets((module,), tmp_path / "two")

    for name, target in first.items():
        for index in range(3):
            input_1, input_2 = target.make(random_for(0, name, index)), second[name].make(random_for(0, name, index))
            assert input_1.words == input_2.words
            assert input_1.files == input_2.files, name


@pytest.fixture(scope="module")
def short_campaign(tmp_path_factory: pytest.TempPathFactory) -> State:
    return campaign(State(1, None), tmp_path_factory.mktemp("slice"), 8, 400, MODULES)


def test_short_campaign_covers_targets(short_campaign: State) -> None:
    assert short_campaign.total > 100
    assert all(sum(short_campaign.outcomes[name].values()) == count for name, count in short_campaign.done.items())
    assert {"image", "mask"} <= short_campaign.done.keys() <= short_campaign.commands.keys()
    assert any(counts.get("refused", 0) for counts in short_campaign.outcomes.values())


def test_short_campaign_has_no_findings(short_campaign: State) -> None:
    assert not short_campaign.findings, json.dumps(short_campaign.findings, indent=1)


def test_findings_do_not_contain_the_campaign_folder(self_test: tuple[State, Path]) -> None:
    state, out = self_test

    assert "./scratch" not in json.dumps(record(state))
    assert str(out) not in json.dumps(record(state))
    assert any("./input" in finding["fault"] for finding in state.findings.values())
