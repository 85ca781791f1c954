"""Recipes registered outside the package exist at every scale."""

from __future__ import annotations

import pytest

from taichinet.errors import SettingError
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.catalogue import SCALES, VARIATIONS, get_recipe, list_recipes, register_recipe


def narrow(full: Experiment) -> Experiment:
    return vary(full, {"options.width": 4})


def test_registered_recipe_is_available_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    register_recipe("taichinet-narrow", narrow)
    try:
        recipe = get_recipe("cpu-taichinet-narrow")
        assert (recipe.name, recipe.options["width"]) == ("cpu-taichinet-narrow", 4)
        assert {f"{scale}-taichinet-narrow" for scale in SCALES} <= set(list_recipes())
        with pytest.raises(SettingError, match="already registered"):
            register_recipe("taichinet-narrow", narrow)
    finally:
        del VARIATIONS["taichinet-narrow"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("unet", "already registered"), ("taichinet", "already registered"), ("cpu-x", "Invalid"), ("a b", "Invalid")],
)
def test_invalid_or_used_name_is_rejected(name: str, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        register_recipe(name, narrow)
