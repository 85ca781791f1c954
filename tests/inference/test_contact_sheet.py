"""The page of `predict`: every image once, links that resolve, texts escaped, and a default order without scripts."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from taichinet.inference import contact_sheet
from taichinet.inference.contact_sheet import is_own_page, page_html
from taichinet.inference.rows import Provenance, Row

ORIGIN = Provenance("best-lite", "ab" * 32, "tuned", "float32", 0.37, "0.1.0")


class Page(HTMLParser):
    """Addresses, texts of the cards and tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.cards: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attributes)
        self.addresses += [address for key in ("href", "src") if (address := values.get(key))]
        if "data-number" in values:
            self.cards.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cards:
            self.cards[-1] += data


def row(name: str, **values: object) -> Row:
    measured = {"lesion_pixels": 50, "area_share": 0.125, "components": 1, "presence": 0.9, "presence_threshold": 0.7}
    return Row(f"scans/{name}.png", name, "done", **{**measured, **values})  # type: ignore[arg-type]


def test_every_image_is_shown_with_its_measurements_and_links() -> None:
    rows = [
        row("a", mean_disagreement=0.01),
        row("b", lesion_pixels=0, area_share=0.0, components=0, presence=0.2, mean_disagreement=0.03),
        row("c", components=2, mean_disagreement=0.02),
        Row("scans/sub/d.png", "sub/d", "failed", error="scans/sub/d.png: is <b>not</b> an image"),
    ]
    page = Page(page_html(rows, ORIGIN, "predictions"))
    assert "Predictions for 4 images" in page.text
    assert "2 with a lesion, 1 without, 1 failed." in page.text
    assert "sub/d.png is <b>not</b> an image" in page.text
    assert [card[0] for card in page.cards] == ["b", "c", "a"], "highest uncertainty first"
    assert "no lesionpresence 0.20, lesion from 0.70uncertainty 0.0300" in page.cards[0]
    assert "lesion: 12 % of the image, 2 components" in page.cards[1]
    kinds = ("overlay", "mask", "probability", "disagreement")
    assert {f"{name}_{kind}.png" for name in "abc" for kind in kinds} <= set(page.addresses)
    assert {"predictions.csv", "predictions.json", "#failed"} <= set(page.addresses)
    for fact in ("best-lite", "ab" * 32, "tuned, float32", "0.37", "0.1.0"):
        assert fact in page.text


def test_one_path_network_is_ordered_by_size_and_has_no_uncertainty() -> None:
    rows = [row("small", area_share=0.01), row("large", area_share=0.4), row("middle", area_share=0.1)]
    html = page_html(rows, ORIGIN, "predictions")
    assert [card.split("lesion")[0] for card in Page(html).cards] == ["large", "middle", "small"]
    assert "uncertainty" not in html.replace("uncertainty highest", "")
    assert not [address for address in Page(html).addresses if "disagreement" in address]


@pytest.mark.parametrize(
    "name", ["p 1/a#b?c%20", "<script>alert(1)</script>", "\"quoted\" & 'single'", "a:b", "\udcff", "n\u0142/\u00e4"]
)
def test_any_name_is_escaped_and_its_links_resolve(name: str, tmp_path: Path) -> None:
    page = Page(page_html([row(name)], ORIGIN, "predictions"))
    assert page.tags.count("script") == 2, "those of the page"
    for address in page.addresses:
        parts = urlsplit(address)
        assert parts.scheme + parts.netloc + parts.query == "", address
    targets = {os.fsdecode(unquote_to_bytes(urlsplit(address).path)) for address in page.addresses}
    assert f"{name}_mask.png" in targets
    assert (name if name != "\udcff" else "\\udcff") in page.cards[0]


def test_page_needs_nothing_from_outside_and_is_recognised(tmp_path: Path) -> None:
    html = page_html([row("a")], ORIGIN, "predictions")
    assert "http://" not in html
    assert "https://" not in html
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    assert is_own_page(tmp_path / "index.html")
    (tmp_path / "index.html").write_text("<!doctype html><title>mine</title>", encoding="utf-8")
    assert not is_own_page(tmp_path / "index.html")
    assert not is_own_page(tmp_path / "absent.html")


def test_large_folders_show_the_first_images_of_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "MOST_IMAGES", 2)
    rows = [row(f"n{number}", area_share=number / 10) for number in range(5)]
    page = Page(page_html(rows, ORIGIN, "predictions"))
    assert [card[:2] for card in page.cards] == ["n4", "n3"]
    assert "The first 2 of 5 images are shown, by size of the lesion, largest first." in page.text


def test_page_without_any_result_only_lists_the_failures() -> None:
    page = Page(page_html([Row("a.png", "a", "failed", error="a.png: torn")], ORIGIN, "predictions"))
    assert page.cards == []
    assert "0 with a lesion, 0 without, 1 failed." in page.text
