"""Departures from the paper: every changed setting is told, with whose value it replaces."""

from __future__ import annotations

from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import busi_taichinet, get_recipe
from taichinet.reports.departures import choices_not_printed, departures


def test_departures_name_own_and_papers_value() -> None:
    changes = {
        "data.size": 128,
        "options.width": 16,
        "training.epochs": 24,
        "training.learning_rate": 1e-3,
        "training.schedule": "cosine",
        "mining.epochs": 10,
    }
    found = departures(vary(busi_taichinet(), changes))
    assert sorted(found) == sorted(
        (
            "size 128 px (paper: 224)",
            "width 16 (paper: 32)",
            "24 epochs (paper: 40)",
            "learning rate 0.001 (paper: 0.0001)",
            "cosine schedule (our default: constant)",
            "U-Net++ of the preparation: 10 epochs (paper: 40)",
        )
    )
    assert not any("preparation" in text for text in departures(get_recipe("cpu-unet")))


def test_a_setting_without_a_word_is_told_by_its_key() -> None:
    changed = vary(busi_taichinet(), {"options.head": "none", "objective.region_weight": 0.5})
    assert departures(changed) == [
        "`options.head` none (paper: c)",
        "`objective.region_weight` 0.5 (paper: 1)",
    ]


def test_a_value_that_the_paper_does_not_print_is_called_our_default() -> None:
    assert departures(vary(busi_taichinet(), {"options.background_prior": 0.5})) == [
        "`options.background_prior` 0.5 (our default: 0.9)"
    ]
    assert "width 16 (our default: 32)" in departures(get_recipe("cpu-unet"))  # Table IV does not tell its width
    assert "width 16 (paper: 32)" in departures(get_recipe("cpu-taichinet"))


def test_one_epoch_is_told_in_the_singular() -> None:
    assert departures(vary(busi_taichinet(), {"training.epochs": 1})) == ["1 epoch (paper: 40)"]


def test_departures_from_another_full_recipe_are_told_against_that_one() -> None:
    assert departures(get_recipe("busi-head-a")) == ["`options.head` a (paper: c)"]
    assert departures(get_recipe("busi-head-a"), get_recipe("busi-head-a")) == []


def test_the_papers_own_settings_still_name_the_held_out_part_and_the_channel() -> None:
    assert departures(busi_taichinet()) == []
    held_out, channel = choices_not_printed(busi_taichinet())
    assert held_out.startswith("1/8 of the training part held out for validation")
    assert channel.startswith("1 grey input channel")
    changed = vary(busi_taichinet(), {"data.validation_share": 0, "options.in_channels": 3})
    assert choices_not_printed(changed) == []
