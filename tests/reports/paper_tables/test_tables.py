"""Tables of the paper: each row is filled only by runs of its recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes.runs import recipe, write_evaluation, write_plan, write_run
from fakes.scores import lesion_row, normal_row
from scipy.stats import wilcoxon

from taichinet.experiments.paper import paper_table
from taichinet.reports.paper_tables.results import Block, common_and_own, make_blocks
from taichinet.reports.paper_tables.runs import KnownGroups, read_groups, read_methods

NO_GROUPS = KnownGroups(())


def rows(seed: int, shift: float = 0.0, count: int = 30) -> list[dict[str, object]]:
    """Scores of the same images of varying difficulty in five folds."""
    hard = np.random.default_rng(99).uniform(0.3, 0.8, count)
    noise = np.random.default_rng(seed).normal(0, 0.04, count)
    return [
        lesion_row(f"image {i}", float(np.clip(hard[i] + noise[i] + shift, 0, 1)), fold=i % 5) for i in range(count)
    ]


def blocks(folder: Path, table: str = "table4") -> list[Block]:
    return make_blocks(paper_table(table), read_methods(folder), read_groups(folder))


def filled(block: Block) -> dict[str, str]:
    """Title of each filled row -> the run that filled it."""
    return {row.row.title: method.first.file.experiment.name for row, method in block.filled}


def test_row_is_filled_by_its_recipe_and_others_are_empty(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), rows(1))
    without, with_normal = blocks(tmp_path)
    assert (without.scale, without.protocol) == ("short", "grouped")
    assert filled(without) == {"U-Net": "short-unet"}
    assert len(without.rows) == 11
    for row in without.rows[1:]:
        assert all(score.mean is None for score in row.scores)
        assert all(row.difference(column) is None for column in range(5))
    assert (with_normal.scale, with_normal.protocol) == (None, None)
    assert with_normal.part.include_normal


def test_difference_is_ours_minus_printed_value(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), [lesion_row("a", 0.5), lesion_row("b", 0.7, fold=1)])
    row = blocks(tmp_path)[0].rows[0]
    assert row.scores[0].mean == pytest.approx(0.6)
    assert row.difference(0) == pytest.approx(0.6 - 0.725)
    assert row.difference(2) == pytest.approx(0.9 - 0.971)


@pytest.mark.parametrize(
    "changes",
    [
        {"training__epochs": 5},
        {"data__size": 96},
        {"options__width": 8},
        {"training__learning_rate": 1e-4},
        {"data__fold_seed": 1},
        {"data__augmentation__probability": 0.9},
    ],
)
def test_run_with_changed_setting_fills_no_row(tmp_path: Path, changes: dict[str, object]) -> None:
    write_run(tmp_path, recipe("short-unet", **changes), rows(1))
    assert [block.scale for block in blocks(tmp_path)] == [None, None]


def test_run_with_other_seed_and_memory_format_fills_row(tmp_path: Path) -> None:
    other = recipe("short-unet", name="short-unet+seed4", training__seed=4, training__channels_last=False)
    write_run(tmp_path, other, rows(1))
    assert filled(blocks(tmp_path)[0]) == {"U-Net": "short-unet+seed4"}


def test_run_with_other_name_fills_no_row(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet", name="short-my-unet"), rows(1))
    assert blocks(tmp_path)[0].scale is None


def test_unet_recipe_fills_row_of_model_1(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), rows(1))
    (block,) = blocks(tmp_path, "table1")
    assert filled(block) == {"Model 1": "short-unet"}


def test_normal_images_fill_only_the_part_with_normal_images(tmp_path: Path) -> None:
    with_normal = recipe("short-unet", name="short-unet+normal", data__include_normal=True)
    write_run(tmp_path, with_normal, [lesion_row("a", 0.8), normal_row("n", 0), normal_row("m", 5)])
    without, both = blocks(tmp_path)
    assert without.scale is None
    assert filled(both) == {"U-Net": "short-unet+normal"}
    assert both.rows[0].scores[0].mean == pytest.approx(0.8 / 3)  # the paper's policy: a normal image counts 0


def test_external_data_fill_second_part_of_table_five(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe("short-unet"), rows(1))
    write_evaluation(folder, "udiat", [lesion_row("x", 0.4), lesion_row("y", 0.6)])
    own, crossed = blocks(tmp_path, "table5")
    assert own.scale is None
    assert filled(crossed) == {"U-Net": "short-unet"}
    assert crossed.rows[0].scores[0].mean == pytest.approx(0.5)


def test_scales_and_protocols_have_separate_blocks(tmp_path: Path) -> None:
    for name, protocol in (("short-unet", "paper"), ("cpu-unet", "grouped"), ("short-unet", "grouped")):
        write_run(tmp_path, recipe(name), rows(1), protocol=protocol)
    scales_and_protocols = [(block.scale, block.protocol) for block in blocks(tmp_path)]
    assert scales_and_protocols == [("cpu", "grouped"), ("short", "grouped"), ("short", "paper"), (None, None)]


def test_rows_are_tested_against_taichinet_on_common_images(tmp_path: Path) -> None:
    ours, unet, ce_net = rows(1), rows(2, -0.05), rows(3, 0.01)
    write_run(tmp_path, recipe("short-taichinet"), ours)
    write_run(tmp_path, recipe("short-unet"), unet)
    write_run(tmp_path, recipe("short-ce-net"), ce_net[:24])  # four fifths of the images
    write_plan(tmp_path, {f"image {i}": i % 5 for i in range(30)}, [["image 0", "image 5"]])
    tests = {entry.row.row.title: entry for entry in blocks(tmp_path)[0].tests}
    assert list(tests) == ["U-Net", "CE-Net"]
    p_values = {}
    for title, others in (("U-Net", unet), ("CE-Net", ce_net[:24])):
        reference = {str(row["key"]): float(str(row["dice"])) for row in ours}
        differences = [float(str(row["dice"])) - reference[str(row["key"])] for row in others]
        test = tests[title]
        p_values[title] = wilcoxon(differences).pvalue
        assert test.test.p == pytest.approx(p_values[title])
        assert test.test.difference.mean == pytest.approx(np.mean(differences))
        assert test.test.images == len(others)
        assert test.test.difference.clusters == len(others) - 1
    smallest, largest = sorted(p_values, key=lambda title: p_values[title])
    assert tests[smallest].p_holm == pytest.approx(min(1, 2 * p_values[smallest]))
    assert tests[largest].p_holm == pytest.approx(max(2 * p_values[smallest], p_values[largest]))


def test_no_significance_tests_without_taichinet(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), rows(1))
    assert not blocks(tmp_path)[0].tests


def test_common_differences_are_listed_once(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-head-a"), rows(1))
    write_run(tmp_path, recipe("short-model-7"), rows(2))
    write_run(tmp_path, recipe("short-taichinet"), rows(3))
    shared, own = common_and_own(blocks(tmp_path, "table1")[0])
    assert "size 128 px (paper: 224)" in shared
    assert "4 epochs (paper: 40)" in shared
    assert "`objective.region_rest` ignored (paper: background)" in own["short-taichinet"]
    assert "short-model-7" not in own
    # Head (a) is the subject of its row, not a difference from Table III.
    shared, own = common_and_own(blocks(tmp_path, "table3")[0])
    assert not any("head" in text for text in (*shared, *own.get("short-head-a", ())))
