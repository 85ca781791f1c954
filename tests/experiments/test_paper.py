"""Tables of the paper: complete, with existing recipes, data sets and scores."""

from __future__ import annotations

import pytest

from taichinet.datasets.catalogue import CATALOGUE as DATASETS
from taichinet.errors import SettingError
from taichinet.evaluation.undefined import SCORES
from taichinet.experiments.paper import PaperTable, paper_table, paper_tables
from taichinet.experiments.recipes.catalogue import list_recipes

TABLES = tuple(paper_tables().values())


def test_seven_tables_have_printed_number_of_rows() -> None:
    rows = {table.name: [len(part.rows) for part in table.parts] for table in TABLES}
    assert rows == {
        "table1": [8],
        "table2": [3],
        "table3": [3],
        "table4": [11, 11],
        "table5": [11, 11],
        "table6": [9],
        "table7": [9],
    }
    assert [table.numeral for table in TABLES] == ["I", "II", "III", "IV", "V", "VI", "VII"]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_is_a_recipe_and_every_column_a_score(table: PaperTable) -> None:
    for part in table.parts:
        assert part.tested_on in DATASETS
        assert part.trained_on in DATASETS
        assert {column.score for column in part.columns} <= set(SCORES)
        for row in part.rows:
            assert f"busi-{row.variation}" in list_recipes()
            assert all(0 < figure.std < 0.1 < figure.mean < 1 for figure in row.figures)


def test_taichinet_is_last_row_with_highest_dice() -> None:
    """The paper claims this for each comparison, so the test detects most copying errors."""
    for table in TABLES:
        for part in table.parts:
            assert part.rows[-1].variation == "taichinet"
            assert part.rows[-1].figures[0].mean == max(row.figures[0].mean for row in part.rows)


def test_same_model_has_same_values_in_tables_one_to_four() -> None:
    full = {paper_table(f"table{number}").parts[0].rows[-1].figures for number in (1, 2, 3, 4)}
    assert len(full) == 1
    assert paper_table("table1").parts[0].rows[0].figures == paper_table("table2").parts[0].rows[0].figures


def test_unknown_table_suggests_nearest() -> None:
    with pytest.raises(SettingError, match="table4"):
        paper_table("table-4")
