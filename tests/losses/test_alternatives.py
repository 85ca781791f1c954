"""Tversky, focal, boundary and Hausdorff terms: equal to MONAI's or SciPy's, and selected by settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.losses import FocalLoss, HausdorffDTLoss, TverskyLoss
from scipy import ndimage

from taichinet.batch import Batch, Prediction
from taichinet.errors import SettingError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.losses.alternatives import focal_term, tversky_term
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.losses.surface import _on_device, boundary_term, hausdorff_term, squared_distance

SIDE = 24


def example(regions: int = 2) -> tuple[Prediction, Batch]:
    """Random logits, and discs of different sizes in three images."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    centres = [(12, 10, 30), (6, 16, 12), (20, 20, 50)]
    discs = [((rows - y) ** 2 + (columns - x) ** 2 < area).float() for y, x, area in centres]
    lesion = torch.stack(discs)[:, None].repeat(1, regions, 1, 1)
    logits = torch.randn(lesion.shape, generator=torch.Generator().manual_seed(0)) * 3
    return Prediction(logits.requires_grad_()), Batch(torch.zeros(3, 1, SIDE, SIDE), lesion)


def test_terms_equal_those_of_monai() -> None:
    prediction, batch = example()
    logits, lesion = prediction.positive, batch.lesion
    for beta in (0.7, 0.5):
        expected = TverskyLoss(sigmoid=True, alpha=1 - beta, beta=beta)(logits, lesion)
        torch.testing.assert_close(tversky_term(prediction, batch, beta), expected)
    for gamma in (2.0, 0.0):
        torch.testing.assert_close(focal_term(prediction, batch, gamma), FocalLoss(gamma=gamma)(logits, lesion))
    expected = HausdorffDTLoss(sigmoid=True, include_background=True)(logits, lesion)  # in squared pixels
    torch.testing.assert_close(hausdorff_term(prediction, batch) * SIDE**2, expected)


def test_distances_equal_those_of_scipy_on_every_device() -> None:
    mask = torch.rand(3, 2, 20, 28, generator=torch.Generator().manual_seed(0)) > 0.4
    expected = np.stack([[ndimage.distance_transform_edt(plane) for plane in image] for image in mask.numpy()])
    for distance in (squared_distance, _on_device):
        np.testing.assert_allclose(distance(mask).sqrt().numpy(), expected, rtol=1e-6)


def test_boundary_loss_is_the_mean_signed_distance() -> None:
    lesion = torch.zeros(2, 1, 8, 8)  # the second image has no lesion
    lesion[0, 0, 2:7, 2:7] = 1
    everything = torch.full_like(lesion, 30.0)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    outside = torch.hypot(
        (2 - rows).clamp(min=0) + (rows - 6).clamp(min=0), (2 - columns).clamp(min=0) + (columns - 6).clamp(min=0)
    )
    inside = 1.0 * 8 + 2.0 * 1  # 16 pixels of the outline, then 8 and 1 at distances 1 and 2 from it
    expected = (float(outside.sum()) - inside) / 8 / lesion.numel()
    batch = Batch(torch.zeros_like(lesion), lesion)
    assert float(boundary_term(Prediction(everything), batch)) == pytest.approx(expected, rel=1e-5)
    better = torch.where(lesion > 0, 30.0, -30.0)
    assert float(boundary_term(Prediction(better), batch)) == pytest.approx(-inside / 8 / lesion.numel(), rel=1e-5)


@pytest.mark.parametrize("term", ["tversky", "focal", "boundary", "hausdorff"])
def test_terms_are_selected_by_settings_and_have_finite_gradients(term: str) -> None:
    recipe = vary(get_recipe("short-unet"), {f"objective.terms.{term}": 0.5, "objective.positive_weight": 0})
    prediction, batch = example()
    batch.lesion[0] = 0  # an image without lesion
    batch.lesion[1] = 1  # and one without background
    with torch.no_grad():
        prediction.positive[0] = 200  # saturated probabilities
        prediction.positive[1] = -200
    loss = objective(prediction, batch, "plain", recipe.objective)
    loss.backward()
    assert torch.isfinite(loss)
    assert prediction.positive.grad is not None
    assert torch.isfinite(prediction.positive.grad).all()
    assert float(prediction.positive.grad[2].abs().sum()) > 0
    doubled = vary(recipe, {f"objective.terms.{term}": 1.0})
    torch.testing.assert_close(objective(prediction, batch, "plain", doubled.objective), 2 * loss)


def test_parameters_of_terms_are_settings() -> None:
    recipe = vary(get_recipe("short-unet"), {"objective.terms.focal": 1, "objective.focal_gamma": 0})
    prediction, batch = example()
    objective_settings = recipe.objective.model_copy(update={"positive_weight": 0.0})
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(prediction.positive, batch.lesion)
    torch.testing.assert_close(objective(prediction, batch, "plain", objective_settings), entropy)
    with pytest.raises(
        SettingError, match=r"tversky_beta has no effect without the term tversky: set objective\.terms"
    ):
        vary(get_recipe("short-unet"), {"objective.tversky_beta": 0.5})
    assert math.isclose(ObjectiveSettings().tversky_beta, 0.7)
