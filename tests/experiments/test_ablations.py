"""Recipes of Tables I to IV: each row changes exactly the options that the paper names."""

from __future__ import annotations

import pytest

from taichinet.experiments.experiment import Experiment
from taichinet.experiments.recipes.ablations import ABLATIONS
from taichinet.experiments.recipes.baselines import BASELINES
from taichinet.experiments.recipes.catalogue import SCALES, get_recipe
from taichinet.models.catalogue import model_settings
from taichinet.models.taichinet.network import TaiChiNetSettings

# Sec. V-D as a table: second path, complementary loss, cross-attention, head, output option, learning strategy.
TABLE_I = {
    "model-2": (True, False, False, "none", "mean", "plain"),
    "model-3": (True, True, False, "none", "mean", "plain"),
    "model-4": (True, False, True, "none", "mean", "plain"),
    "model-5": (True, True, False, "c", "positive", "plain"),
    "model-6": (True, True, True, "none", "mean", "plain"),
    "model-7": (True, True, True, "c", "positive", "plain"),
    "taichinet": (True, True, True, "c", "positive", "easy-to-hard"),
}


def network_of(experiment: Experiment) -> TaiChiNetSettings:
    settings = model_settings(experiment.model, **experiment.options)
    assert isinstance(settings, TaiChiNetSettings)
    return settings


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("row", "parts"), TABLE_I.items())
def test_table_one_rows_have_the_listed_parts(scale: str, row: str, parts: tuple[object, ...]) -> None:
    recipe = get_recipe(f"{scale}-{row}")
    network = network_of(recipe)
    assert parts == (
        network.second_path,
        recipe.objective.complementary,
        network.cross_attention,
        network.head,
        network.answer,
        recipe.training.strategy,
    )


@pytest.mark.parametrize("scale", SCALES)
def test_model_1_equals_unet_recipe(scale: str) -> None:
    assert get_recipe(f"{scale}-model-1").model == "unet"
    same = get_recipe(f"{scale}-unet").model_dump(exclude={"name"})
    assert get_recipe(f"{scale}-model-1").model_dump(exclude={"name"}) == same


@pytest.mark.parametrize(
    ("row", "option", "value"),
    [("consistent", "mutual", "consistent"), ("head-a", "head", "a"), ("head-b", "head", "b")],
)
def test_rows_of_tables_two_and_three_change_one_option(row: str, option: str, value: str) -> None:
    full, recipe = get_recipe("busi-taichinet"), get_recipe(f"busi-{row}")
    changed = recipe.model_dump(exclude={"name"})
    expected = {**full.model_dump(exclude={"name"}), "options": {**full.options, option: value}}
    assert changed == expected


@pytest.mark.parametrize("row", [*ABLATIONS, *BASELINES])
def test_rows_share_data_mining_and_training_settings(row: str) -> None:
    full, recipe = get_recipe("cpu-taichinet"), get_recipe(f"cpu-{row}")
    assert recipe.data == full.data
    assert recipe.mining == full.mining
    assert recipe.training.model_copy(update={"strategy": full.training.strategy}) == full.training


@pytest.mark.parametrize("model", BASELINES)
def test_baseline_has_default_options_at_full_scale_and_half_width_at_half_scale(model: str) -> None:
    full, half = get_recipe(f"busi-{model}"), get_recipe(f"cpu-{model}")
    assert full.training.strategy == "plain"
    default = model_settings(model)
    built = model_settings(full.model, **full.options)
    unsupervised = {"deep_supervision", "variational"}
    assert built.model_dump(exclude=unsupervised) == default.model_dump(exclude=unsupervised)
    if hasattr(default, "width"):
        assert model_settings(half.model, **half.options).width == default.width // 2  # type: ignore[attr-defined]


def test_every_baseline_has_strategy_and_second_path_recipes() -> None:
    for model in BASELINES:
        assert get_recipe(f"busi-{model}-strategy").training.strategy == "easy-to-hard"
        assert get_recipe(f"busi-{model}-second-path").options["second_path"] == {"head": "c"}
