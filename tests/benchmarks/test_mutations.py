"""The mutation table matches the code, tests run with the mutated package, and interrupted runs resume."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "mutations.py"


@pytest.fixture(scope="module")
def mutations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutations", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # needed by dataclasses
    spec.loader.exec_module(module)
    return module


def test_each_replaced_text_occurs_once_in_its_file(mutations: ModuleType) -> None:
    counts = {
        (mutation.file, mutation.old): (ROOT / "src/taichinet" / mutation.file).read_text("utf-8").count(mutation.old)
        for mutation in mutations.MUTATIONS
    }
    assert {key: count for key, count in counts.items() if count != 1} == {}
    assert len(counts) >= 50


def test_each_mutated_file_compiles(mutations: ModuleType) -> None:
    for mutation in mutations.MUTATIONS:
        assert mutation.old != mutation.new
        text = (ROOT / "src/taichinet" / mutation.file).read_text("utf-8")
        compile(text.replace(mutation.old, mutation.new), mutation.file, "exec")


def test_each_named_test_exists(mutations: ModuleType) -> None:
    for mutation in mutations.MUTATIONS:
        for test in mutation.tests:
            file, _, name = test.partition("::")
            assert f"def {name}" in (ROOT / "tests" / file).read_text("utf-8")


TESTS = ("datasets/interchange/test_label_map.py",)


def test_tests_run_with_the_mutated_package(mutations: ModuleType) -> None:
    assert mutations.run(TESTS)["outcome"] == "passed"
    [mutation] = [mutation for mutation in mutations.MUTATIONS if mutation.old == "MaskRule(values[0], values[-1])"]
    assert mutations.run(TESTS, mutation)["outcome"] == "killed"
    no_change = mutations.Mutation(mutation.file, mutation.old, mutation.old + " ", TESTS)
    assert mutations.run(TESTS, no_change)["outcome"] == "survived"


def test_tests_over_the_cpu_limit_are_stopped(mutations: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutations, "CPU_LIMIT", 1)
    assert mutations.run(TESTS)["outcome"] == "timed out"


def outcomes_and_skipped(
    mutations: ModuleType, path: Path, commit: str | None, **options: Any
) -> tuple[set[str], set[str]]:
    """The outcomes of the baseline, and the mutations that a record at `commit` does not run again."""
    record = mutations.Record(path, commit, **options)
    missing = record.missing(mutations.MUTATIONS[:4])
    return {row["outcome"] for row in record.baseline}, {mutation.old for mutation in mutations.MUTATIONS[:4]} - {
        mutation.old for mutation in missing
    }


def test_recorded_results_of_the_same_commit_are_reused(mutations: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "mutations.json"
    record = mutations.Record(path, "a1")
    record.add_baseline(("losses/test_segmentation.py",), {"outcome": "passed", "seconds": 1.0})
    killed, survived, broken, _ = mutations.MUTATIONS[:4]
    for mutation, outcome in ((killed, "killed"), (survived, "survived"), (broken, "error")):
        record.add(mutation, {"outcome": outcome, "seconds": 1.0})
    assert outcomes_and_skipped(mutations, path, "a1") == ({"passed"}, {killed.old, survived.old})
    assert outcomes_and_skipped(mutations, path, "b2") == (set(), set())
    assert outcomes_and_skipped(mutations, path, "b2", again=True) == (set(), {killed.old})
    assert outcomes_and_skipped(mutations, path, None) == (set(), set())  # files that differ from their commit

    later = mutations.Record(path, "b2", again=True)
    later.add(survived, {"outcome": "killed", "seconds": 1.0})
    assert [row["survived_before"] for row in later.mutations] == [False, True]
