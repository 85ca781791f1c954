"""The page as a text: escaped, self-contained, with every figure given; and its curves as a picture."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from math import nan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taichinet.reports.curves import DARK, LearningCurve, curves_figure
from taichinet.reports.page import (
    Case,
    NetworkScore,
    PageContent,
    render_page,
    write_page,
)

TINY = Image.new("RGB", (8, 8), "navy")
CONTENT = PageContent(
    title="Two networks",
    lead="A lead.",
    scores=(
        NetworkScore("TaiChiNet", 1148210, 0.8424, 0.7511, 0.861, 0.857, 7.31, 0.25, 96.4),
        NetworkScore("U-Net", 540881, 0.815, 0.7511, 0.870, 0.811, 9.84, nan, None),
    ),
    curves=(LearningCurve("TaiChiNet", (0.2, 0.5, 0.7), 2, 3), LearningCurve("U-Net", (0.3, nan, 0.6))),
    cases=(
        Case("malignant (3)", {"TaiChiNet": 0.4117, "U-Net": nan}, (("image", TINY), ("truth", TINY))),
        Case("benign (1)", {"TaiChiNet": 0.9}, (("image", TINY),)),
    ),
    made=(("Seed", "7"), ("Commit", "3f2c1a9be012")),
    heat="disagreement",
)


def without_pictures(html: str) -> str:
    return re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "data:", html)


class Elements(HTMLParser):
    """Every start tag with its attributes, and the open tags at the end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = render_page(CONTENT)
    text = without_pictures(html)
    assert not re.search(r"https?:|//\w|url\(|@import|javascript:", text)
    for tag, attributes in Elements(html).found:
        assert tag not in ("script", "link", "iframe", "a", "object")
        for name in ("src", "srcset"):
            assert name not in attributes or str(attributes[name]).startswith("data:image/")


def test_every_tag_is_closed() -> None:
    assert Elements(render_page(CONTENT)).open == []


@pytest.mark.parametrize("field", ["title", "lead", "scores_note", "cases_note", "caveat", "heat"])
def test_texts_are_escaped(field: str) -> None:
    html = render_page(replace(CONTENT, **{field: 'a <b>x</b> & "q" <script>alert(1)</script>'}))  # type: ignore[arg-type]
    assert "<script" not in html
    assert "<b>x" not in html
    assert "&lt;b&gt;x" in html


def test_captions_networks_and_origins_are_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    case = Case(evil, {evil: 0.5}, ((evil, TINY),))
    score = replace(CONTENT.scores[0], network=evil)
    curve = LearningCurve(evil, (0.1, 0.2))
    html = render_page(
        replace(
            CONTENT,
            cases=(case,),
            scores=(score,),
            curves=(curve,),
            made=((evil, evil),),
            strokes=(evil, evil),
        )
    )
    assert "<script" not in html
    assert Elements(html).open == []


def test_scores_are_printed_and_the_best_of_each_column_is_bold() -> None:
    html = without_pictures(render_page(CONTENT))
    assert re.search(r'data-name="Dice" class="best"><span>0\.842<', html)
    assert re.search(r'data-name="Dice"><span>0\.815<', html)
    assert re.search(r'data-name="HD95" class="best"><span>7\.3 ', html)
    assert re.search(r'data-name="Precision" class="best"><span>0\.870<', html)
    assert "1\u202f148\u202f210" in html
    assert "96 s" in html


def test_equal_scores_are_not_marked_and_missing_ones_are_a_dash() -> None:
    html = without_pictures(render_page(CONTENT))
    assert html.count('data-name="Jaccard"><span>0.751<') == 2
    assert re.search(r'data-name="False alarms"><span>– ', html)
    assert re.search(r'data-name="Training"><span>–<', html)


def test_false_alarms_have_no_column_where_no_normal_image_was_seen() -> None:
    scores = tuple(replace(score, false_positive_rate=None) for score in CONTENT.scores)
    assert "False alarms" not in render_page(replace(CONTENT, scores=scores))


def test_cases_stand_in_their_order_with_dice_and_all_pictures() -> None:
    html = render_page(CONTENT)
    assert html.index("malignant (3)") < html.index("benign (1)")
    assert "TaiChiNet<b>0.412</b>" in html
    assert "U-Net<b>–</b>" in html
    alts = [attributes["alt"] for tag, attributes in Elements(html).found if tag == "img"]
    assert alts[1:] == ["malignant (3): image", "malignant (3): truth", "benign (1): image"]


def test_a_page_without_curves_cases_or_origin_leaves_their_sections_out() -> None:
    html = render_page(replace(CONTENT, curves=(LearningCurve("U-Net", (nan, nan)),), cases=(), made=()))
    assert re.findall(r"<h2[^>]*>([^<]*)", html) == ["Scores"]


def test_the_file_is_written_whole_into_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "demo.html"
    write_page(path, CONTENT)
    assert path.read_text(encoding="utf-8") == render_page(CONTENT)
    assert list(path.parent.iterdir()) == [path]


def test_the_learning_curves_are_drawn_in_a_colour_each_on_a_clear_ground() -> None:
    picture = Image.open(io.BytesIO(curves_figure(CONTENT.curves, DARK)))
    pixels = np.asarray(picture.convert("RGBA")).reshape(-1, 4)
    assert (pixels[:, 3] == 0).mean() > 0.5
    for colour in DARK.lines[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels[:, :3] == rgb).all(axis=1).sum() > 100
    assert "Software" not in picture.info
