"""The fuzzer finds artificial faults of each kind; a slice of it runs on the real entry points."""

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
MODULES = ("fuzzing.images", "fuzzing.data", "fuzzing.networks")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, Path]:
    out = tmp_path_factory.mktemp("fuzz")
    return campaign(State(0, None), out, 60, 26, SELF_TEST, most_seconds=5), out


@pytest.mark.parametrize("kind", KINDS)
def test_an_artificial_fault_of_each_kind_is_found(found: tuple[State, Path], kind: str) -> None:
    state, out = found

    findings = [finding for finding in state.findings.values() if finding["target"] == kind]
    assert [finding["kind"] for finding in findings] == [kind]
    saved = json.loads((out / "findings" / f"{kind}-{findings[0]['examples'][0]}.json").read_text())
    assert (saved["target"], saved["kind"], saved["command"]) == (kind, kind, "none")


def test_inputs_that_are_refused_or_right_are_no_findings(found: tuple[State, Path]) -> None:
    state, _ = found

    assert state.outcomes["crash"]["refused"] > 0
    assert state.outcomes["wrong"]["accepted"] > 0
    assert record(state)["inputs"] == 26


def test_a_campaign_goes_on_where_it_ended_and_begins_again_for_another_commit(found: tuple[State, Path]) -> None:
    state, out = found

    assert read_state(out / "state.json", 0, None).done == state.done
    assert read_state(out / "state.json", 0, "another").total == 0
    again = campaign(read_state(out / "state.json", 0, None), out, 60, 29, SELF_TEST, 5, only=("crash",))
    assert again.total == 29
    assert again.done["crash"] == state.done["crash"] + 3


@pytest.mark.parametrize("module", MODULES)
def test_the_same_input_is_made_again_from_its_seed_and_index(module: str, tmp_path: Path) -> None:
    first = load_targets((module,), tmp_path / "one")
    second = load_targets((module,), tmp_path / "two")

    for name, target in first.items():
        for index in range(3):
            one, two = target.make(random_for(0, name, index)), second[name].make(random_for(0, name, index))
            assert one.words == two.words
            assert one.files == two.files, name


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> State:
    return campaign(State(1, None), tmp_path_factory.mktemp("slice"), 8, 400, MODULES)


def test_a_slice_of_the_campaign_reaches_every_target(piece: State) -> None:
    assert piece.total > 100
    assert all(sum(piece.outcomes[name].values()) == count for name, count in piece.done.items())
    assert {"image", "mask"} <= piece.done.keys() <= piece.commands.keys()
    assert any(counts.get("refused", 0) for counts in piece.outcomes.values())


def test_a_slice_of_the_campaign_finds_nothing(piece: State) -> None:
    assert not piece.findings, json.dumps(piece.findings, indent=1)


def test_a_finding_does_not_name_the_folder_of_the_campaign(found: tuple[State, Path]) -> None:
    state, out = found

    assert "./scratch" not in json.dumps(record(state))
    assert str(out) not in json.dumps(record(state))
    assert any("./input" in finding["fault"] for finding in state.findings.values())
