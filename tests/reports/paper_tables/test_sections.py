"""Registration of report sections from outside the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.runs import recipe, write_run
from fakes.scores import lesion_row

from taichinet.errors import SettingError
from taichinet.reports.document.model import Block, Note
from taichinet.reports.paper_tables.results import ComparisonResults, read_results
from taichinet.reports.paper_tables.sections import SECTIONS, make_document, register_report_section


@pytest.fixture
def registered() -> Iterator[None]:
    """Two registered sections, of which one is empty."""

    def count(results: ComparisonResults) -> list[Block]:
        return [Note(f"{len(results.methods)} methods.")]

    register_report_section("count", "Number of methods", count)
    register_report_section("empty", "Nothing", lambda results: [])
    yield
    del SECTIONS["count"], SECTIONS["empty"]


@pytest.mark.usefixtures("registered")
def test_registered_section_follows_sections_of_the_package(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), [lesion_row("a", 0.5), lesion_row("b", 0.7, fold=1)])
    sections = make_document(read_results(tmp_path, resamples=50)).sections
    names = [section.name for section in sections]
    tables = ["how-to-read", "table1", "table2", "table4", "without-results"]  # the U-Net is a row of these three
    assert names == ["verdict", "overview", *tables, "leakage", "empty-truths", "costs", "others", "count"]
    (note,) = next(section.blocks for section in sections if section.name == "without-results")
    assert isinstance(note, Note)
    assert "Table IV: BUSI with normal images; Table V: UDIAT (Dataset B) and Trained on BUSI" in note.text
    assert "`taichinet compare table3 --data DATA -o RUNS`" in note.text
    assert (sections[-1].heading, sections[-1].blocks) == ("Number of methods", (Note("1 methods."),))


@pytest.mark.usefixtures("registered")
def test_repeated_section_name_is_rejected() -> None:
    with pytest.raises(SettingError, match="already is a report section 'count'"):
        register_report_section("count", "Again", lambda results: [])
