"""The card as HTML and Markdown: complete, escaped, without external resources and unmeasured values."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
from fakes.cards import DOUBT, card, card_html, card_markdown, group, interval
from PIL import Image

from taichinet.errors import SettingError
from taichinet.evaluation.calibration import pool
from taichinet.evaluation.uncertainty import Interval
from taichinet.experiments.validation_card import Comparison, ValidationCard, WorstCase
from taichinet.reports.document.model import Cell, Facts, Note, Points, Table
from taichinet.reports.validation_card import NOT_A_DEVICE, card_document, out_of, summarise_card, write_card


def png() -> bytes:
    memory = io.BytesIO()
    Image.new("RGB", (6, 4), "navy").save(memory, format="PNG")
    return memory.getvalue()


def minimal_card() -> ValidationCard:
    """A card of lesion images only, without probabilities and internal result."""
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
    """The visible text on one line."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", body))


def headings(html: str) -> list[str]:
    return re.findall(r'<h2 id="([a-z]+)"', html)


def test_page_has_no_external_resources() -> None:
    html = card_html(card(worst=(WorstCase("a", "benign", 0.1, 0.1, 0.1, png()),)))
    assert not re.search(r"<(script|link|iframe|a|object)\b|url\((?!#)|https?:|@import", html)
    for address in re.findall(r'src="([^"]*)', html):
        assert address.startswith("data:image/png;base64,")
    for tag in ("section", "table", "tr", "td", "th", "dl", "figure", "svg", "details", "div", "ul", "li"):
        assert len(re.findall(rf"<{tag}[ >]", html)) == html.count(f"</{tag}>"), tag


def test_page_and_markdown_have_the_same_texts() -> None:
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


def test_sections_are_in_order() -> None:
    expected = ["reading", "scores", "classes", "normal", "comparison", "calibration", "worst", "made"]
    assert headings(card_html(card())) == expected
    assert headings(card_html(minimal_card())) == ["reading", "scores", "made"]


def test_scores_have_intervals_at_both_resolutions() -> None:
    lines = card_markdown(card()).splitlines()
    assert "| Dice | 0.672 (0.622 to 0.722) | 0.662 (0.612 to 0.712) |" in lines
    assert "| HD95 (px) | 12.3 (12.2 to 12.4) | 12.3 (12.2 to 12.3) |" in lines
    assert any(line.startswith("| benign | 22 | 0.711 (0.661 to 0.761) | 0.561 (") for line in lines)


def test_both_policies_are_given_with_normal_images() -> None:
    lines = card_markdown(card()).splitlines()
    assert any(line.startswith("| normal images score 0, as in the paper | 48 | 0.504") for line in lines)
    assert any(line.startswith("| normal images with an empty prediction score 1 | 48 | 0.566") for line in lines)
    assert "- with a false positive: 9, a rate of 0.750 (0.700 to 0.800)" in lines
    assert "- false-positive area: 0.0321 (0.0221 to 0.0421) of the image on average" in lines


def test_differences_have_a_sign_and_their_bounds_if_any() -> None:
    lines = card_markdown(card()).splitlines()
    assert "| Dice | 0.781 | 0.672 | −0.109 (−0.180 to −0.040) |" in lines
    assert "| HD95 (px) | 10.1 | 12.3 | +2.2 |" in lines


def test_calibration_is_reported_for_all_and_uncertain_pixels_with_chart() -> None:
    content = card()
    assert f"| all images | {content.lesion.whole.ece:.4f} |" in card_markdown(content)  # type: ignore[union-attr]
    assert f"| {DOUBT.ece:.4f} | {DOUBT.brier:.4f} | 0.0200 |" in card_markdown(content)
    assert "| 0.50 to 0.75 | 50 | 0.600 | 0.400 |" in card_markdown(content)
    assert 'aria-label="Of the 9,000 pixels with a mean probability of 0.02' in card_html(content)


def test_images_are_shown_with_the_licence_of_their_data_set() -> None:
    with_image = replace(minimal_card(), worst=(WorstCase("benign (16)", "benign", 0.0, 0.0, 0.0, png()),))
    assert 'alt="benign (16), Dice 0.000"' in card_html(with_image)
    assert "from Other Ultrasound and subject to its licence: CC BY 4.0." in card_html(with_image)
    assert "subject to its licence" not in card_html(minimal_card())


def test_known_facts_about_weights_and_images_are_listed() -> None:
    text = card_markdown(card())
    assert "trained on: busi, 454 images, without normal images, protocol grouped, fold 0, commit 34db10c47731" in text
    assert "tested on: Other Ultrasound: 22 benign, 14 malignant, 12 normal" in text
    for fact in ("CC BY 4.0", "the authors' page", "0573c57d86887bb3", "commit 167cf0f6e2c1", "(31 groups)"):
        assert fact in text
    unknown = replace(card().origin, trained_on=None, trained_images=None, protocol=None, fold=None, commit=None)
    text = card_markdown(card(origin=replace(unknown, trained_on_normal=None), external=False))
    assert "- trained on: not recorded\n" in text
    assert "It is not known whether these images were used for training." in text


def test_only_external_validations_are_called_external() -> None:
    text = card_markdown(card(external=False))
    assert "# Validation of TaiChiNet on Other Ultrasound" in text
    assert "this is not an external validation" in text
    assert "# External validation of" in card_markdown(card())


def test_all_texts_are_escaped() -> None:
    hostile = 'a|b"><script>alert(1)</script>'
    content = card(
        origin=replace(card().origin, name=hostile, trained_on=hostile),
        cohort=replace(card().cohort, title=hostile, licence=hostile, note=hostile, images_by_class={hostile: 48}),
        by_class=(group(hostile, 0.7, 22),),
        worst=(WorstCase(hostile, hostile, 0.1, 0.1, 0.1, png()),),
    )
    assert "<script" not in card_html(content)
    assert "<script" not in card_markdown(content)
    rows = [line for line in card_markdown(content).splitlines() if line.startswith("| a\\|b")]
    assert sorted(len(re.split(r"(?<!\\)\|", row)) - 2 for row in rows) == [5, 6, 7]  # worst, calibration, by class


def test_both_formats_state_that_this_is_no_medical_device() -> None:
    assert NOT_A_DEVICE in card_html(minimal_card())
    assert NOT_A_DEVICE in card_markdown(minimal_card())


def test_file_suffix_determines_format(tmp_path: Path) -> None:
    for name, text in (("card.html", card_html(minimal_card())), ("card.MD", card_markdown(minimal_card()))):
        write_card(tmp_path / "new" / name, minimal_card())
        assert (tmp_path / "new" / name).read_text(encoding="utf-8") == text
    with pytest.raises(SettingError, match=r"card\.pdf ends in '\.pdf'"):
        write_card(tmp_path / "card.pdf", minimal_card())


def test_summary_has_one_sentence_per_result() -> None:
    sentences = summarise_card(card())
    assert sentences[0] == (
        "On average, 77 of 100 pixels of a lesion were found, and 65 of 100 pixels that were predicted as lesion "
        "belong to one."
    )
    assert "the 95% confidence interval of the mean is 0.622 to 0.722" in sentences[1]
    assert sentences[2] == "In 4 of 36 images with a lesion no part of the lesion was found."
    assert sentences[3] == (
        "In 9 of 12 normal images a lesion was predicted although there is none. No normal image was used for training."
    )
    assert "they are too high by 0.12 overall" in sentences[4]  # (85 - 60) / 200
    assert sentences[5] == (
        "On test images of the data set of the training the mean Dice was 0.781; here it is 0.109 lower, more than the "
        "variation expected by chance."
    )
    assert len(sentences) == 6


def test_difference_is_interpreted_by_its_bounds() -> None:
    within = Comparison("dice", 0.7, 0.712, Interval(0.012, -0.05, 0.07, 165, 165))
    assert "0.012 higher, within the variation expected by chance" in " ".join(
        summarise_card(card(comparison=(within,)))
    )
    unknown = replace(within, difference=Interval(0.012, nan, nan, 165, 0))
    assert "cannot be estimated" in " ".join(summarise_card(card(comparison=(unknown,))))


def test_summary_lists_unmeasured_results() -> None:
    text = " ".join(summarise_card(minimal_card()))
    assert "There was no normal image" in text
    assert "Uncertain" not in text
    assert "data set of the training" not in text


def test_summary_of_few_images_confident_predictions_and_no_missed_lesion() -> None:
    small = card(lesion=group("lesion", 0.7, 9), missed=0)
    assert "9 images with a lesion are few" in " ".join(summarise_card(small))
    assert "In each of the 9 images with a lesion at least a part of the lesion was found." in summarise_card(small)
    certain = [replace(group_card, uncertain=pool([])) for group_card in card().all_images]
    assert "all predictions are confident" in " ".join(summarise_card(card(all_images=tuple(certain))))


def test_no_statement_about_lesions_without_lesion_images() -> None:
    nan_scores = {size: dict.fromkeys(scores, interval(nan, images=0)) for size, scores in card().lesion.scores.items()}
    empty = card(lesion=replace(card().lesion, images=0, scores=nan_scores), by_class=(), worst=(), missed=0)
    assert summarise_card(empty)[0].startswith("There was no image with a lesion")
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
def test_rounding_does_not_change_a_share_to_none_or_all(share: float, text: str) -> None:
    assert out_of(share) == text
