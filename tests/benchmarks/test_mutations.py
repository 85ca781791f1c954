"""The table of mutations fits the code: every old text occurs once, and every test that must notice is there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

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
