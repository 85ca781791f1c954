"""The leakage delta: paired if both protocols have the same test images, otherwise for two samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes.runs import recipe, write_evaluation, write_plan, write_run
from fakes.scores import lesion_row

from taichinet.evaluation.uncertainty import bootstrap_difference
from taichinet.reports.paper_tables.results import LeakageDelta, leakage_deltas
from taichinet.reports.paper_tables.runs import read_groups, read_methods


def rows(keys: range, dice: float) -> list[dict[str, object]]:
    return [lesion_row(f"image {i}", dice + 0.01 * (i % 7), fold=i % 5) for i in keys]


def deltas(folder: Path) -> list[LeakageDelta]:
    return leakage_deltas(read_methods(folder), read_groups(folder))


def test_same_images_are_paired(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), rows(range(20), 0.6))
    better = [row | {"dice": float(str(row["dice"])) + 0.05} for row in reversed(rows(range(20), 0.6))]
    write_run(tmp_path, recipe("short-unet"), better, protocol="paper")
    (delta,) = deltas(tmp_path)
    dice = delta.deltas[0]
    assert delta.paired
    assert dice.difference.mean == pytest.approx(0.05)
    assert not dice.difference.bounded  # the differences do not vary
    assert (dice.paper - dice.grouped) == pytest.approx(0.05)


def test_different_images_are_two_samples_with_near_duplicates_resampled_together(tmp_path: Path) -> None:
    grouped, paper = rows(range(0, 60, 2), 0.6), rows(range(0, 60, 3), 0.7)
    write_run(tmp_path, recipe("short-unet"), grouped)
    write_run(tmp_path, recipe("short-unet"), paper, protocol="paper")
    groups = [["image 0", "image 3"], ["image 9", "image 14"]]
    write_plan(tmp_path, {f"image {i}": i % 5 for i in range(60)}, groups, protocol="paper")
    (delta,) = deltas(tmp_path)
    cluster = {f"image {i}": i for i in range(60)} | {"image 3": 0, "image 14": 9}
    paper, grouped = (sorted(side, key=lambda row: str(row["key"])) for side in (paper, grouped))
    paper_dices, grouped_dices = ([float(str(row["dice"])) for row in side] for side in (paper, grouped))
    expected = bootstrap_difference(
        paper_dices,
        grouped_dices,
        np.random.default_rng(0),
        [cluster[str(row["key"])] for row in paper],
        [cluster[str(row["key"])] for row in grouped],
    )
    assert not delta.paired
    assert delta.images == (20, 30)
    difference = delta.deltas[0].difference
    assert (difference.mean, difference.low, difference.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert (difference.images, difference.clusters) == (50, 49)  # images 0 and 3 are one cluster
    assert delta.leaking == 2  # images 9 and 14 are in one fold


def test_no_delta_for_one_protocol_other_settings_or_other_data(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe("short-unet"), rows(range(10), 0.6))
    write_evaluation(folder, "udiat", rows(range(10), 0.5))
    longer = recipe("short-unet", training__epochs=9)
    other = write_run(tmp_path, longer, rows(range(10), 0.6), protocol="paper")
    write_evaluation(other, "udiat", rows(range(10), 0.5))
    assert deltas(tmp_path) == []
