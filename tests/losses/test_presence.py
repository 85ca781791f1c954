"""The presence term."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import Batch, Prediction
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.losses.presence import presence_term


def masks(*boxes: tuple[slice, slice] | None, size: int = 64) -> Tensor:
    lesion = torch.zeros(len(boxes), 1, size, size)
    for mask, box in zip(lesion, boxes, strict=True):
        if box is not None:
            mask[0][box] = 1
    return lesion


def term(logits: Tensor, lesion: Tensor) -> float:
    return float(presence_term(Prediction(logits), Batch(torch.zeros_like(logits), lesion)))


def test_a_small_false_lesion_in_a_normal_image_costs_as_much_as_a_large_one() -> None:
    logits = torch.full((1, 1, 64, 64), -10.0)
    logits[..., :3, :3] = 3
    assert term(logits, masks(None)) == pytest.approx(float(F.softplus(torch.tensor(3.0))), rel=1e-3)
    assert float(F.softplus(logits).mean()) < 0.02  # what the cross-entropy of all pixels gives


def test_in_a_lesion_image_only_the_lesion_counts() -> None:
    lesion = masks((slice(8, 20), slice(8, 20)))
    elsewhere = torch.full((1, 1, 64, 64), -4.0)
    elsewhere[..., 40:50, 40:50] = 8
    found = torch.full((1, 1, 64, 64), -4.0)
    found[..., 10:14, 10:14] = 4
    assert term(elsewhere, lesion) == pytest.approx(float(F.softplus(torch.tensor(4.0))))
    assert term(found, lesion) == pytest.approx(float(F.softplus(torch.tensor(-4.0))))


def test_a_lesion_of_fewer_pixels_than_the_share_is_the_mean_of_its_pixels() -> None:
    logits = torch.full((1, 1, 64, 64), -2.0, requires_grad=True)
    loss = presence_term(Prediction(logits), Batch(torch.zeros(1, 1, 64, 64), masks((slice(0, 1), slice(0, 3)))))
    assert loss.item() == pytest.approx(math.log1p(math.exp(2)))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()
    assert int((gradient != 0).sum()) == 3


def test_the_term_is_the_mean_over_images_and_has_a_weight() -> None:
    logits, lesion = torch.randn(2, 1, 64, 64), masks(None, (slice(2, 30), slice(2, 30)))
    assert term(logits, lesion) == pytest.approx((term(logits[:1], lesion[:1]) + term(logits[1:], lesion[1:])) / 2)
    batch = Batch(torch.zeros_like(logits), lesion)
    without, weighted = (
        float(objective(Prediction(logits), batch, "plain", ObjectiveSettings(terms=terms)))
        for terms in ({}, {"presence": 0.5})
    )
    assert weighted - without == pytest.approx(0.5 * term(logits, lesion), rel=1e-4)
