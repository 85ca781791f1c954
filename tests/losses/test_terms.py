"""A loss term registered outside the package is weighted by `objective.terms.NAME`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from taichinet.batch import Batch, Prediction
from taichinet.errors import SettingError
from taichinet.experiments.experiment import vary
from taichinet.experiments.identity import setting_changes
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.losses.terms import TERMS, register_loss


def mean_logit(prediction: Prediction, batch: Batch) -> Tensor | None:
    return prediction.positive.mean()


@pytest.fixture(autouse=True)
def toy_term() -> Iterator[None]:
    register_loss("mean_logit", mean_logit)
    yield
    del TERMS["mean_logit"]


def test_registered_term_is_added_with_its_weight() -> None:
    prediction = Prediction(torch.full((1, 1, 4, 4), 2.0))
    batch = Batch(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    without_term = objective(prediction, batch, "plain", ObjectiveSettings())
    with_term = objective(prediction, batch, "plain", ObjectiveSettings(terms={"mean_logit": 0.25}))
    torch.testing.assert_close(with_term - without_term, torch.tensor(0.5))


def test_weight_is_a_setting_of_the_recipe() -> None:
    recipe_without_term = get_recipe("short-unet")
    recipe = vary(recipe_without_term, {"objective.terms.mean_logit": 0.5})
    assert recipe.objective.terms == {"mean_logit": 0.5}
    assert setting_changes(recipe_without_term, recipe) == {"objective.terms.mean_logit": (None, 0.5)}
    with pytest.raises(SettingError, match=r"Unknown loss term 'mean_logits'.*Did you mean 'mean_logit'"):
        vary(recipe_without_term, {"objective.terms.mean_logits": 0.5})
    with pytest.raises(SettingError, match="greater than or equal to 0"):
        vary(recipe_without_term, {"objective.terms.mean_logit": -1})


@pytest.mark.parametrize(("name", "reason"), [("residual", "already registered"), ("Mean logit", "Invalid name")])
def test_invalid_name_is_rejected(name: str, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        register_loss(name, mean_logit)
