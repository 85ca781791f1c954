"""Reports describe every step of a decision, and no step that is off."""

from __future__ import annotations

from dataclasses import replace

from fakes.cards import card, card_html, card_markdown

from taichinet.evaluation.decision import Decision
from taichinet.reports.document.decision import describe_decision

WHOLE = Decision(temperature=1.25, threshold=0.35, smallest_component=0.005, fill_holes=True, presence=0.742)


def test_whole_decision_has_a_sentence_for_each_step() -> None:
    assert describe_decision(WHOLE) == (
        "The logit of each probability is divided by the temperature 1.25",
        "A pixel is lesion if its probability after temperature exceeds 0.35",
        "Holes in a predicted component are filled",
        "Components with less than 0.5 % of the image area are removed",
        "No lesion is reported if the presence score, the mean of the most probable 0.2 % of the pixels, is below "
        "0.742",
    )


def test_plain_threshold_is_one_sentence() -> None:
    assert describe_decision(Decision(threshold=0.4)) == ("A pixel is lesion if its probability exceeds 0.4",)


def test_validation_card_shows_the_whole_decision() -> None:
    content = card(origin=replace(card().origin, decision=WHOLE))
    for text in (card_html(content), card_markdown(content)):
        assert ". ".join(describe_decision(WHOLE)) + "." in text
