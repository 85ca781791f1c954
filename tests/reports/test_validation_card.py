"""The card by its text: every figure in both forms, escaped, self-contained, and silent on what was not measured."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
from fakes.cards import DOUBT, card, group, interval
from PIL import Image

from taichinet.errors import SettingError
from taichinet.evaluation.calibration import pool
from taichinet.evaluation.uncertainty import Interval
from taichinet.experiments.validation_card import Comparison, ValidationCard, WorstCase
from taichinet.reports.document.model import Cell, Facts, Note, Points, Table
from taichinet.reports.plain_reading import NOT_A_DEVICE, out_of, plain_reading
from taichinet.reports.validation_card import card_html, card_markdown, write_card
from taichinet.reports.validation_sections import card_document


def picture() -> bytes:
    memory = io.BytesIO()
    Image.new("RGB", (6, 4), "navy").save(memory, format="PNG")
    return memory.getvalue()


def bare() -> ValidationCard:
    """A card of one set of lesion images: no normal images, no probabilities, no result to compare with."""
    return card(
        lesion=group("lesion", 0.672, 36, whole=None, uncertain=None),
        by_class=(),
        all_images=(),
        normal=None,
        comparison=(),
        internal_images=None,
        worst=(),
    )


def text_of(html: str) -> str:
    """What a reader sees, on one line."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", body))


def headings(html: str) -> list[str]:
    return re.findall(r'<h2 id="([a-z]+)"', html)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = card_html(card(worst=(WorstCase("a", "benign", 0.1, 0.1, 0.1, picture()),)))
    assert not re.search(r"<(script|link|iframe|a|object)\b|url\(|@import", html)
    for address in re.findall(r'(?:src|srcset)="([^"]*)', html):
        assert address.startswith("data:image/png;base64,")
    for tag in ("section", "table", "tr", "td", "th", "dl", "figure", "picture", "details", "div", "ul", "li"):
        assert len(re.findall(rf"<{tag}[ >]", html)) == html.count(f"</{tag}>"), tag


def test_page_and_markdown_say_the_same() -> None:
    content = card()
    html, markdown = text_of(card_html(content)), card_markdown(content)
    for section in card_document(content).sections:
        texts = [section.heading]
        for block in section.blocks:
            match block:
                case Note(text):
                    texts.append(text)
                case Points(points):
                    texts += points
                case Facts(items):
                    texts += [text for fact in items for text in fact]
                case Table(headings, groups):
                    texts += headings
                    cells = [cell for group in groups for row in group for cell in row]
                    texts += [
                        text
                        for cell in cells
                        for text in ((cell.text, cell.small) if isinstance(cell, Cell) else (cell,))
                    ]
        for text in filter(None, texts):
            assert text in html.replace("&#39;", "'"), text
            assert text in markdown, text


def test_every_section_stands_in_reading_order() -> None:
    expected = ["reading", "scores", "classes", "normal", "comparison", "calibration", "worst", "made"]
    assert headings(card_html(card())) == expected
    assert headings(card_html(bare())) == ["reading", "scores", "made"]


def test_scores_stand_with_their_intervals_at_both_sizes() -> None:
    lines = card_markdown(card()).splitlines()
    assert "| Dice | 0.672 (0.622 to 0.722) | 0.662 (0.612 to 0.712) |" in lines
    assert "| HD95 (px) | 12.3 (12.2 to 12.4) | 12.3 (12.2 to 12.3) |" in lines
    assert any(line.startswith("| benign | 22 | 0.711 (0.661 to 0.761) | 0.561 (") for line in lines)


def test_both_policies_stand_where_normal_images_are() -> None:
    lines = card_markdown(card()).splitlines()
    assert any(line.startswith("| a normal image counts 0, as in the paper | 48 | 0.504") for line in lines)
    assert any(line.startswith("| a normal image left empty counts 1 | 48 | 0.566") for line in lines)
    assert "- with a false alarm: 9, a share of 0.750 (0.700 to 0.800)" in lines
    assert "- area called lesion: 0.0321 (0.0221 to 0.0421) of the image on average" in lines


def test_the_difference_has_its_sign_and_its_bounds_where_there_are_some() -> None:
    lines = card_markdown(card()).splitlines()
    assert "| Dice | 0.781 | 0.672 | −0.109 (−0.180 to −0.040) |" in lines
    assert "| HD95 (px) | 10.1 | 12.3 | +2.2 |" in lines


def test_calibration_stands_over_all_pixels_and_in_doubt_with_its_curve() -> None:
    content = card()
    assert f"| all images | {content.lesion.whole.ece:.4f} |" in card_markdown(content)  # type: ignore[union-attr]
    assert f"| {DOUBT.ece:.4f} | {DOUBT.brier:.4f} | 0.0200 |" in card_markdown(content)
    assert "| 0.50 to 0.75 | 50 | 0.600 | 0.400 |" in card_markdown(content)
    assert 'alt="Of the 9\u202f000 pixels called 0.02' in card_html(content)


def test_pictures_come_with_the_licence_of_their_data_set() -> None:
    with_picture = replace(bare(), worst=(WorstCase("benign (16)", "benign", 0.0, 0.0, 0.0, picture()),))
    assert 'alt="benign (16), Dice 0.000"' in card_html(with_picture)
    assert "whose licence decides who may see them: CC BY 4.0." in card_html(with_picture)
    assert "licence decides" not in card_html(bare())


def test_all_that_is_known_of_weights_and_images_is_told() -> None:
    text = card_markdown(card())
    assert "trained on: busi, 454 images, without normal images, protocol grouped, fold 0, commit 34db10c47731" in text
    assert "tested on: Other Ultrasound: 22 benign, 14 malignant, 12 normal" in text
    for fact in ("CC BY 4.0", "the authors' page", "0573c57d86887bb3", "commit 167cf0f6e2c1", "(31 groups)"):
        assert fact in text
    unknown = replace(card().origin, trained_on=None, trained_images=None, protocol=None, fold=None, commit=None)
    text = card_markdown(card(origin=replace(unknown, trained_on_normal=None), external=False))
    assert "- trained on: not recorded\n" in text
    assert "Whether these images took part in the training is not known." in text


def test_what_is_not_external_is_not_called_so() -> None:
    text = card_markdown(card(external=False))
    assert "# Validation of TaiChiNet on Other Ultrasound" in text
    assert "this is not an external validation" in text
    assert "# External validation of" in card_markdown(card())


def test_texts_of_others_are_escaped() -> None:
    evil = 'a|b"><script>alert(1)</script>'
    content = card(
        origin=replace(card().origin, name=evil, trained_on=evil),
        cohort=replace(card().cohort, title=evil, licence=evil, note=evil, images_by_class={evil: 48}),
        by_class=(group(evil, 0.7, 22),),
        worst=(WorstCase(evil, evil, 0.1, 0.1, 0.1, picture()),),
        made=((evil, evil),),
    )
    assert "<script" not in card_html(content)
    assert "<script" not in card_markdown(content)
    rows = [line for line in card_markdown(content).splitlines() if line.startswith("| a\\|b")]
    assert sorted(len(re.split(r"(?<!\\)\|", row)) - 2 for row in rows) == [5, 6, 7]  # worst, calibration, by class


def test_the_card_is_no_medical_device_in_either_form() -> None:
    assert NOT_A_DEVICE in card_html(bare())
    assert NOT_A_DEVICE in card_markdown(bare())


def test_the_ending_decides_the_form(tmp_path: Path) -> None:
    for name, text in (("card.html", card_html(bare())), ("card.MD", card_markdown(bare()))):
        write_card(tmp_path / "new" / name, bare())
        assert (tmp_path / "new" / name).read_text(encoding="utf-8") == text
    with pytest.raises(SettingError, match=r"card\.pdf ends in '\.pdf'"):
        write_card(tmp_path / "card.pdf", bare())


def test_the_reading_says_each_figure_once_in_plain_words() -> None:
    said = plain_reading(card())
    assert said[0] == (
        "On average 77 of 100 pixels of a lesion were found, and 65 of 100 pixels that were called lesion belong to "
        "one."
    )
    assert "a mean from 0.622 to 0.722 would be no surprise" in said[1]
    assert said[2] == "In 4 of 36 images with a lesion nothing of it was found."
    assert said[3] == ("In 9 of 12 normal images a lesion was drawn where there is none. No such image was trained on.")
    assert "on the whole too high by 0.12" in said[4]  # (85 - 60) / 200
    assert said[5] == (
        "On unseen images of its own data set the mean Dice was 0.781; here it is 0.109 lower, more than chance among "
        "such images explains."
    )
    assert len(said) == 6


def test_a_difference_within_its_bounds_is_chance_and_one_without_bounds_is_open() -> None:
    within = Comparison("dice", 0.7, 0.712, Interval(0.012, -0.05, 0.07, 165, 165))
    assert "0.012 higher, not more than chance" in " ".join(plain_reading(card(comparison=(within,))))
    unknown = replace(within, difference=Interval(0.012, nan, nan, 165, 0))
    assert "cannot be told" in " ".join(plain_reading(card(comparison=(unknown,))))


def test_the_reading_says_what_was_not_measured() -> None:
    said = " ".join(plain_reading(bare()))
    assert "There was no normal image" in said
    assert "doubts" not in said
    assert "own data set" not in said


def test_few_images_certainty_and_full_success_are_said_as_they_are() -> None:
    small = card(lesion=group("lesion", 0.7, 9), missed=0)
    assert "9 images with a lesion are few" in " ".join(plain_reading(small))
    assert "In each of the 9 images with a lesion at least a part of it was found." in plain_reading(small)
    certain = [replace(one, uncertain=pool([])) for one in card().all_images]
    assert "the network never doubts" in " ".join(plain_reading(card(all_images=tuple(certain))))


def test_without_any_lesion_nothing_is_claimed_about_finding() -> None:
    nan_scores = {size: dict.fromkeys(scores, interval(nan, images=0)) for size, scores in card().lesion.scores.items()}
    empty = card(lesion=replace(card().lesion, images=0, scores=nan_scores), by_class=(), worst=(), missed=0)
    assert plain_reading(empty)[0].startswith("There was no image with a lesion")
    assert "scores" not in headings(card_html(empty))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 of 100"),
        (0.004, "fewer than 1 of 100"),
        (0.667, "67 of 100"),
        (0.997, "more than 99 of 100"),
        (1.0, "100 of 100"),
    ],
)
def test_shares_do_not_become_none_or_all_by_rounding(share: float, text: str) -> None:
    assert out_of(share) == text
