"""Tables I to IV as recipes: what each row lacks, and that it lacks nothing else."""

from __future__ import annotations

import pytest

from taichinet.experiments.experiment import Experiment
from taichinet.experiments.recipes.ablations import ABLATIONS
from taichinet.experiments.recipes.baselines import BASELINES
from taichinet.experiments.recipes.catalogue import SCALES, get_recipe
from taichinet.models.catalogue import model_settings
from taichinet.models.taichinet.network import TaiChiNetSettings

# Sec. V-D, written as a table: second path, complementary loss, cross-attention, head, answer, learning strategy.
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
def test_every_row_of_table_one_has_exactly_its_parts(scale: str, row: str, parts: tuple[object, ...]) -> None:
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
def test_model_1_is_the_unet_alone(scale: str) -> None:
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
def test_no_row_changes_what_all_rows_share(row: str) -> None:
    full, recipe = get_recipe("cpu-taichinet"), get_recipe(f"cpu-{row}")
    assert recipe.data == full.data
    assert recipe.mining == full.mining
    assert recipe.training.model_copy(update={"strategy": full.training.strategy}) == full.training


@pytest.mark.parametrize("model", BASELINES)
def test_a_baseline_has_its_sources_options_at_full_scale_and_half_its_width_at_half_scale(model: str) -> None:
    full, half = get_recipe(f"busi-{model}"), get_recipe(f"cpu-{model}")
    assert full.training.strategy == "plain"
    default = model_settings(model)
    built = model_settings(full.model, **full.options)
    unsupervised = {"deep_supervision", "variational"}
    assert built.model_dump(exclude=unsupervised) == default.model_dump(exclude=unsupervised)
    if hasattr(default, "width"):
        assert model_settings(half.model, **half.options).width == default.width // 2  # type: ignore[attr-defined]


def test_any_baseline_can_have_the_strategy_or_the_second_path() -> None:
    for model in BASELINES:
        assert get_recipe(f"busi-{model}-strategy").training.strategy == "easy-to-hard"
        assert get_recipe(f"busi-{model}-second-path").options["second_path"] == {"head": "c"}
