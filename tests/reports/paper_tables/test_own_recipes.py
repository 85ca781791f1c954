"""The section on our own recipes: which runs it compares, on which images, and with which scores."""

from __future__ import annotations

from pathlib import Path

from fakes.runs import recipe, write_evaluation, write_run
from fakes.scores import lesion_row, normal_row

from taichinet.reports.document.model import Heading, Table
from taichinet.reports.paper_tables.own_recipes import own_recipe_blocks
from taichinet.reports.paper_tables.results import read_results

BETTER = [lesion_row(key, 0.9, fold=fold) for fold, key in enumerate("abcde")]
WORSE = [lesion_row(key, 0.6, fold=fold) for fold, key in enumerate("abcde")]
NORMAL = [normal_row("n", 0)]


def rows_of(runs: Path) -> dict[str, list[tuple[str, ...]]]:
    """The rows below each heading, without the recipes that they begin with."""
    blocks = own_recipe_blocks(read_results(runs, resamples=10))
    tables = [block for block in blocks if isinstance(block, Table)]
    headings = [block.text for block in blocks if isinstance(block, Heading)]
    return {
        heading: [tuple(map(str, cells)) for cells in table.groups[0]]
        for heading, table in zip(headings, tables, strict=True)
    }


def test_complete_runs_are_compared_with_the_recipe_on_the_same_images(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("best-lite"), [*BETTER, *NORMAL])
    write_run(tmp_path, recipe("best-lite-unet"), WORSE[:4])  # not all folds
    write_run(tmp_path, recipe("busi-unet"), WORSE)
    write_run(tmp_path, recipe("short-unet"), WORSE)
    write_run(tmp_path, recipe("best-lite"), BETTER, dataset="udiat")  # alone there
    ((heading, rows),) = rows_of(tmp_path).items()
    assert heading == "Tested on BUSI"
    assert [row[0] for row in rows] == ["`best-lite`", "`busi-unet`"]
    assert rows[0][1:6] == ("BUSI with normal images", "5", "0.850", "", "")
    assert rows[1][1:4] == ("BUSI", "5", "0.550")
    assert rows[1][7].startswith("\u22120.300")
    assert rows[1][8] == "0 / 5"


def test_networks_of_two_data_sets_are_compared_on_each(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("best-lite"), WORSE)
    joint = write_run(tmp_path, recipe("best-lite"), BETTER, dataset="busi+bus-uclm")
    write_evaluation(joint, "busi", BETTER)
    assert [row[1:4] for row in rows_of(tmp_path)["Tested on BUSI"]] == [
        ("BUSI with normal images", "5", "0.550"),
        ("BUSI + BUS-UCLM with normal images", "5", "0.850"),
    ]


def test_nothing_is_shown_without_the_recipe(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("busi-unet"), WORSE)
    assert rows_of(tmp_path) == {}
