"""The data-check benchmark: planted copies, recall, and the fitted exponent of the cost."""

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
    sys.modules[spec.name] = module  # needed by dataclasses
    spec.loader.exec_module(module)
    return module


def test_all_planted_copies_of_40_phantoms_are_detected_without_false_pairs(
    scaling: ModuleType, tmp_path: Path
) -> None:
    for number in range(40):
        scaling.draw(tmp_path, number)
    row = scaling.measure(tmp_path, 40)
    assert (row["images"], row["planted_pairs"], row["recall"], row["stranger_pairs"]) == (40, 4, 1.0, 0)
    assert set(row["recall_by_change"]) == {"rescaled", "cropped", "darkened", "cropped and rescaled"}
    assert row["wall_seconds"] >= 0
    assert row["peak_memory_mib"] >= row["peak_memory_of_the_first_20_mib"] > 50


def test_copies_are_rescaled_cropped_or_darkened(scaling: ModuleType, tmp_path: Path) -> None:
    for number in (2, 9, 12, 19, 29 - 7, 29):
        scaling.draw(tmp_path, number)
    images = {n: np.asarray(Image.open(tmp_path / f"{n}.png"), float) for n in (2, 9, 12, 19, 22, 29)}
    assert (images[2].shape, images[9].shape) == ((72, 96), (58, 77))
    assert np.array_equal(images[19], images[12][7:63, 14:84])
    assert np.corrcoef(images[22].ravel(), images[29].ravel())[0, 1] > 0.95
    assert images[29].mean() < 0.9 * images[22].mean()
    assert np.asarray(Image.open(tmp_path / "19_mask.png")).shape == (56, 70)


def test_missed_copy_lowers_recall_and_false_pair_is_counted(scaling: ModuleType) -> None:
    pairs = (DuplicatePair("12", "19", "cropped", 0.9), DuplicatePair("0", "5", "cropped", 0.6))
    report = DataReport("phantoms", 20, (), duplicates=DuplicateReport(pairs, ()))
    result = scaling.found_copies(report, 20)
    assert (result["planted_pairs"], result["recall"], result["stranger_pairs"]) == (2, 0.5, 1)
    assert result["recall_by_change"] == {"rescaled": 0.0, "cropped": 1.0}


@pytest.mark.parametrize("power", [1.0, 1.1, 2.0])
def test_fitted_exponent_matches_the_power_of_the_costs(scaling: ModuleType, power: float) -> None:
    rows = [{"images": size, "cpu_seconds": 3.0 * size**power} for size in (100, 200, 400)]
    assert scaling.exponent(rows, "cpu_seconds") == pytest.approx(power, abs=1e-3)
    assert scaling.exponent(rows[:1], "cpu_seconds") is None
