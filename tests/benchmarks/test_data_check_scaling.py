"""The benchmark of the data check plants what it says, counts what is found, and fits the exponent that was put in."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from taichinet.datasets.checks.check import DataReport
from taichinet.datasets.duplicates.search import DuplicatePair, DuplicateReport

FILE = Path(__file__).parents[2] / "benchmarks" / "data_check_scaling.py"


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("data_check_scaling", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_planted_copy_of_forty_phantoms_is_found_and_no_stranger_is(scaling: ModuleType, tmp_path: Path) -> None:
    for number in range(40):
        scaling.draw(tmp_path, number)
    row = scaling.measure(tmp_path, 40)
    assert (row["images"], row["planted_pairs"], row["recall"], row["stranger_pairs"]) == (40, 4, 1.0, 0)
    assert set(row["recall_by_change"]) == {"rescaled", "cropped", "darkened", "cropped and rescaled"}
    assert row["wall_seconds"] >= 0
    assert row["peak_memory_mib"] >= row["peak_memory_of_the_first_20_mib"] > 50


def test_a_copy_is_what_its_change_says(scaling: ModuleType, tmp_path: Path) -> None:
    for number in (2, 9, 12, 19, 29 - 7, 29):
        scaling.draw(tmp_path, number)
    pictures = {n: np.asarray(Image.open(tmp_path / f"{n}.png"), float) for n in (2, 9, 12, 19, 22, 29)}
    assert (pictures[2].shape, pictures[9].shape) == ((72, 96), (58, 77))
    assert np.array_equal(pictures[19], pictures[12][7:63, 14:84])
    assert np.corrcoef(pictures[22].ravel(), pictures[29].ravel())[0, 1] > 0.95
    assert pictures[29].mean() < 0.9 * pictures[22].mean()
    assert np.asarray(Image.open(tmp_path / "19_mask.png")).shape == (56, 70)


def test_a_missed_copy_lowers_the_recall_and_a_joined_stranger_is_counted(scaling: ModuleType) -> None:
    pairs = (DuplicatePair("12", "19", "cropped", 0.9), DuplicatePair("0", "5", "cropped", 0.6))
    report = DataReport("phantoms", 20, (), duplicates=DuplicateReport(pairs, ()))
    found = scaling.found_copies(report, 20)
    assert (found["planted_pairs"], found["recall"], found["stranger_pairs"]) == (2, 0.5, 1)
    assert found["recall_by_change"] == {"rescaled": 0.0, "cropped": 1.0}


@pytest.mark.parametrize("power", [1.0, 1.1, 2.0])
def test_the_exponent_is_the_one_that_the_costs_follow(scaling: ModuleType, power: float) -> None:
    rows = [{"images": size, "cpu_seconds": 3.0 * size**power} for size in (100, 200, 400)]
    assert scaling.exponent(rows, "cpu_seconds") == pytest.approx(power, abs=1e-3)
    assert scaling.exponent(rows[:1], "cpu_seconds") is None
