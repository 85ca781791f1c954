"""The table of mutations fits the code, the tests run with the mutated package, an interrupted run continues."""

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
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_old_text_occurs_once_in_its_file(mutations: ModuleType) -> None:
    counts = {
        (mutation.file, mutation.old): (ROOT / "src/taichinet" / mutation.file).read_text("utf-8").count(mutation.old)
        for mutation in mutations.MUTATIONS
    }
    assert {place: count for place, count in counts.items() if count != 1} == {}
    assert len(counts) >= 50


def test_every_mutation_changes_its_file_into_python_that_compiles(mutations: ModuleType) -> None:
    for mutation in mutations.MUTATIONS:
        assert mutation.old != mutation.new
        text = (ROOT / "src/taichinet" / mutation.file).read_text("utf-8")
        compile(text.replace(mutation.old, mutation.new), mutation.file, "exec")


def test_every_test_that_must_notice_is_there(mutations: ModuleType) -> None:
    for mutation in mutations.MUTATIONS:
        for test in mutation.tests:
            file, _, name = test.partition("::")
            assert f"def {name}" in (ROOT / "tests" / file).read_text("utf-8")


TESTS = ("datasets/interchange/test_label_map.py",)


def test_tests_run_with_the_mutated_package(mutations: ModuleType) -> None:
    assert mutations.run(TESTS)["outcome"] == "passed"
    [mutation] = [one for one in mutations.MUTATIONS if one.old == "MaskRule(values[0], values[-1])"]
    assert mutations.run(TESTS, mutation)["outcome"] == "killed"
    no_change = mutations.Mutation(mutation.file, mutation.old, mutation.old + " ", TESTS)
    assert mutations.run(TESTS, no_change)["outcome"] == "survived"


def test_tests_that_use_too_much_processor_time_end(mutations: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutations, "CPU_LIMIT", 1)
    assert mutations.run(TESTS)["outcome"] == "timed out"


def recorded(mutations: ModuleType, path: Path, commit: str | None, **options: Any) -> tuple[set[str], set[str]]:
    """The sets of tests and the mutations that a record at `commit` need not run again."""
    record = mutations.Record(path, commit, **options)
    missing = record.missing(mutations.MUTATIONS[:4])
    return {row["outcome"] for row in record.baseline}, {one.old for one in mutations.MUTATIONS[:4]} - {
        one.old for one in missing
    }


def test_what_has_a_result_at_the_same_commit_is_not_run_again(mutations: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "mutations.json"
    record = mutations.Record(path, "a1")
    record.add_baseline(("losses/test_segmentation.py",), {"outcome": "passed", "seconds": 1.0})
    killed, survived, broken, _ = mutations.MUTATIONS[:4]
    for mutation, outcome in ((killed, "killed"), (survived, "survived"), (broken, "error")):
        record.add(mutation, {"outcome": outcome, "seconds": 1.0})
    assert recorded(mutations, path, "a1") == ({"passed"}, {killed.old, survived.old})
    assert recorded(mutations, path, "b2") == (set(), set())
    assert recorded(mutations, path, "b2", again=True) == (set(), {killed.old})
    assert recorded(mutations, path, None) == (set(), set())  # files that differ from their commit

    later = mutations.Record(path, "b2", again=True)
    later.add(survived, {"outcome": "killed", "seconds": 1.0})
    assert [row["survived_before"] for row in later.mutations] == [False, True]
