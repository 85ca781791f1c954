"""Differences from the paper: every changed setting with the value of the paper or our default."""

from __future__ import annotations

from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import busi_taichinet, get_recipe
from taichinet.reports.paper_tables.differences import choices_not_printed, differences_from_paper


def test_differences_give_our_value_and_the_papers() -> None:
    changes = {
        "data.size": 128,
        "options.width": 16,
        "training.epochs": 24,
        "training.learning_rate": 1e-3,
        "training.schedule": "cosine",
        "mining.epochs": 10,
    }
    found = differences_from_paper(vary(busi_taichinet(), changes))
    assert sorted(found) == sorted(
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


def test_settings_without_a_description_are_given_by_key() -> None:
    changed = vary(busi_taichinet(), {"options.head": "none", "objective.region_weight": 0.5})
    assert differences_from_paper(changed) == [
        "`options.head` none (paper: c)",
        "`objective.region_weight` 0.5 (paper: 1)",
    ]


def test_values_that_the_paper_does_not_print_are_called_our_default() -> None:
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


def test_the_papers_settings_still_list_the_held_out_part_and_the_channel() -> None:
    assert differences_from_paper(busi_taichinet()) == []
    held_out, channel = choices_not_printed(busi_taichinet())
    assert held_out.startswith("1/8 of the training part held out for validation")
    assert channel.startswith("1 grey input channel")
    changed = vary(busi_taichinet(), {"data.validation_share": 0, "options.in_channels": 3})
    assert choices_not_printed(changed) == []
