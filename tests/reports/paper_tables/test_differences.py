"""Differences from the paper: all changed settings with the value of the paper or our default."""

from __future__ import annotations

from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import busi_taichinet, get_recipe
from taichinet.reports.paper_tables.differences import choices_not_printed, differences_from_paper


def test_differences_have_our_value_and_that_of_the_paper() -> None:
    changes = {
        "data.size": 128,
        "options.width": 16,
        "training.epochs": 24,
        "training.learning_rate": 1e-3,
        "training.schedule": "cosine",
        "mining.epochs": 10,
    }
    lines = differences_from_paper(vary(busi_taichinet(), changes))
    assert sorted(lines) == sorted(
        (
            "size 128 px (paper: 224)",
            "width 16 (paper: 32)",
            "24 epochs (paper: 40)",
            "learning rate 0.001 (paper: 0.0001)",
            "cosine schedule (our default: constant)",
            "U-Net++ of the mining stage: 10 epochs (paper: 40)",
        )
    )
    assert not any("mining stage" in text for text in differences_from_paper(get_recipe("cpu-unet")))


def test_settings_without_description_are_listed_by_key() -> None:
    changed = vary(busi_taichinet(), {"options.head": "none", "objective.region_weight": 0.5})
    assert differences_from_paper(changed) == [
        "`options.head` none (paper: c)",
        "`objective.region_weight` 0.5 (paper: 1)",
    ]


def test_unprinted_values_are_labelled_our_default() -> None:
    assert differences_from_paper(vary(busi_taichinet(), {"options.background_prior": 0.5})) == [
        "`options.background_prior` 0.5 (our default: 0.9)"
    ]
    assert "width 16 (our default: 32)" in differences_from_paper(get_recipe("cpu-unet"))
    assert "width 16 (paper: 32)" in differences_from_paper(get_recipe("cpu-taichinet"))


def test_one_epoch_is_singular() -> None:
    assert differences_from_paper(vary(busi_taichinet(), {"training.epochs": 1})) == ["1 epoch (paper: 40)"]


def test_another_full_recipe_can_be_given() -> None:
    assert differences_from_paper(get_recipe("busi-head-a")) == ["`options.head` a (paper: c)"]
    assert differences_from_paper(get_recipe("busi-head-a"), get_recipe("busi-head-a")) == []


def test_validation_share_and_channel_are_listed_for_paper_settings() -> None:
    assert differences_from_paper(busi_taichinet()) == []
    held_out, channel = choices_not_printed(busi_taichinet())
    assert held_out.startswith("1/8 of the training images held out for validation")
    assert channel.startswith("1 grey input channel")
    changed = vary(busi_taichinet(), {"data.validation_share": 0, "options.in_channels": 3})
    assert choices_not_printed(changed) == []
