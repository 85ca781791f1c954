"""Names, labels and paths from users are escaped in all written Markdown files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.cards import card, card_markdown, group
from fakes.runs import recipe, write_run
from fakes.scores import lesion_row

from taichinet.experiments.validation_card import WorstCase
from taichinet.reports.document.markdown import document_markdown
from taichinet.reports.document.model import Document, Links, Section
from taichinet.reports.paper_tables.write import ReportOptions, write_report
from taichinet.reports.results.pages import make_pages
from taichinet.storage.markdown_text import escape_markdown, inline_markdown

HOSTILE = "x<script>a|b [l](javascript:1)\n# h &lt;b> `c"
LIVE = re.compile(r"<script|\]\(javascript|^# h|&lt;b>", re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p < 0.001, a & b, [0.1, 0.2]", "p < 0.001, a & b, [0.1, 0.2]"),
        ("<b>", "&lt;b>"),
        ("</b><!-- --><?x", "&lt;/b>&lt;!-- -->&lt;?x"),
        ("<http://x>", "&lt;http://x>"),
        ("&lt;b&#62;", "&amp;lt;b&amp;#62;"),
        ("a|b", r"a\|b"),
        ("[a](b)", r"[a]\(b)"),
        ("a\r\n# b\u2028- c", "a # b - c"),
        ("`a`", "'a'"),
    ],
)
def test_markup_is_escaped(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`a<b>|c` <b>", r"`a<b>\|c` &lt;b>"),
        ("`<b>``", "`<b>`'"),
        ("`a``<b>`", "`a` `<b>`"),
        ("``<b>", "''&lt;b>"),
        ("a ` <b>", "a ' &lt;b>"),
    ],
)
def test_paired_backticks_are_code_and_others_are_replaced(text: str, shown: str) -> None:
    assert inline_markdown(text) == shown


def test_reports_escape_names_of_data_sets_labels_and_commits(tmp_path: Path) -> None:
    rows = [lesion_row(f"{HOSTILE} {i}", 0.5 + 0.02 * i, label=HOSTILE, fold=i % 5) for i in range(10)]
    changes: dict[str, Any] = {
        "commit": HOSTILE,
        "placement": HOSTILE,
        "machine": {"processor": HOSTILE, "torch": HOSTILE},
    }
    for name in ("short-unet", "short-taichinet"):
        folder = write_run(tmp_path / "runs", recipe(name), rows, dataset="folder", **changes)
        summary = (folder / "summary.json").read_text(encoding="utf-8")
        (folder / "summary.json").write_text(summary.replace('"dataset": "folder"', '"dataset": "x<script>|"'))
    write_report(tmp_path / "runs", tmp_path / "report", ReportOptions(resamples=100))
    written = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    pages = make_pages(tmp_path / "runs", tmp_path / "results.md", resamples=100).documents.values()
    results = "".join(document_markdown(page, "") for page in pages)
    for text in (written, results):
        assert "&lt;script" in text
        assert not LIVE.findall(re.sub("`[^`\n]*`", "", text))  # text in code spans is not interpreted


def test_card_escapes_names() -> None:
    cohort = replace(card().cohort, title=HOSTILE, images_by_class={HOSTILE: 48})
    worst = (WorstCase(HOSTILE, HOSTILE, 0.0, 0.0, 0.0),)
    text = card_markdown(card(cohort=cohort, worst=worst, by_class=(group(HOSTILE, 0.7, 22),)))
    assert "&lt;script" in text
    assert not LIVE.findall(re.sub("`[^`\n]*`", "", text))


def test_links_to_files_with_unusual_names() -> None:
    links = Links((("a b#.md", "one"), ("x\udcff.md", "not UTF-8")))
    text = document_markdown(Document("", (), (Section("", "", (links,)),)), "")
    assert "- [one](a%20b%23.md)\n- [not UTF-8](x%FF.md)\n" in text
