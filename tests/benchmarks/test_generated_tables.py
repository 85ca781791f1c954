"""Tables between marks in docs/ are those that the benchmarks write from results/."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import levers  # noqa: E402
import packaged_errors  # noqa: E402
import packaged_speed  # noqa: E402
import parity  # noqa: E402

RECORDS = ROOT / "results" / "benchmarks"


def record(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((RECORDS / f"{name}-amd-epyc-avx512-bf16.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize(
    ("page", "name", "lines"),
    [
        ("segment/how-often-wrong.md", "errors", packaged_errors.table),
        ("segment/packaged-network.md", "speed", lambda: packaged_speed.sentences(record("packaged_speed"))),
        ("ship/parity.md", "parity", lambda: parity.tables([record("parity")])),
        (
            "ship/best-lite.md",
            "levers",
            lambda: levers.table(json.loads((RECORDS / "levers.json").read_text())["levers"]),
        ),
    ],
)
def test_page_has_the_recorded_results(page: str, name: str, lines: object) -> None:
    assert callable(lines)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    generated = text.partition(f"<!-- {name}: begin -->\n")[2].partition(f"\n<!-- {name}: end -->")[0]
    assert generated.splitlines() == lines()


def test_error_rates_are_those_of_the_summary() -> None:
    summary = json.loads((packaged_errors.STUDIES / "grouped" / "summary.json").read_text(encoding="utf-8"))["summary"]
    rows = packaged_errors.table()[2:]
    assert len(rows) == 2 * len(packaged_errors.NAMES)  # of networks trained on both data sets, then on the other one
    for row, (data, name) in zip(rows, packaged_errors.NAMES.items(), strict=False):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        normal = summary["normal_images_by_dataset"][data]
        assert cells[0] == name
        assert cells[-2:] == [str(normal["images"]), f"{normal['false_positive_rate']:.0%}"]
