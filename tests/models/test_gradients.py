"""Analytic gradients equal numerical ones, in float64: the head, the attention, every loss term."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from helpers import NARROW
from torch import Tensor
from torch.autograd import gradcheck

from taichinet.batch import Feedback, Prediction, Reconstruction
from taichinet.losses.auxiliary import AuxiliarySettings, divergence_loss, lesion_loss, residual_loss
from taichinet.losses.complementary import complementary_loss
from taichinet.losses.objective import region_loss
from taichinet.losses.segmentation import cross_entropy, dice_loss, segmentation_loss
from taichinet.models.catalogue import create_model, list_models
from taichinet.models.settings import CouplingSettings
from taichinet.models.taichinet.complementary_head import ComplementaryHead
from taichinet.models.taichinet.cross_attention import CrossAttention, channel_attention


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def mask(*shape: int) -> Tensor:
    return (draw(*shape, seed=9) > 0).double()


@pytest.mark.parametrize(
    ("head", "space", "mutual"),
    [*product("abc", ["logit", "squash", "clamp"], ["complementary"]), ("c", "logit", "consistent")],
)
def test_the_complementary_head(head: str, space: str, mutual: str) -> None:
    torch.manual_seed(0)
    settings = CouplingSettings.model_validate({"head": head, "head_space": space, "mutual": mutual, "head_hidden": 3})
    network = ComplementaryHead(settings, regions=2).double()
    assert gradcheck(network, (draw(1, 2, 3, 3), draw(1, 2, 3, 3, seed=1)))


def test_the_cross_attention() -> None:
    torch.manual_seed(0)
    network = CrossAttention(4, 6).double()
    assert gradcheck(network, (draw(2, 6, 2, 2), draw(2, 4, 2, 2, seed=1)))
    assert gradcheck(channel_attention, (draw(1, 4, 2, 3), draw(1, 5, 2, 3, seed=1), draw(1, 5, 2, 3, seed=2)))


TRUTH = mask(2, 2, 4, 4)
ANSWER = draw(2, 2, 4, 4, seed=5).detach()  # a target: the term gives it no gradient
PART = TRUTH * (torch.arange(4) < 2)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice": lambda one, other: dice_loss(one, TRUTH),
    "dice of an empty truth": lambda one, other: dice_loss(one, torch.zeros_like(TRUTH)),
    "cross-entropy": lambda one, other: cross_entropy(one, TRUTH),
    "segmentation": lambda one, other: segmentation_loss(one, TRUTH),
    "complementary": lambda one, other: complementary_loss(one, other),
    "consistent": lambda one, other: complementary_loss(one, other, negative_sees_background=False),
    "region, rest as background": lambda one, other: region_loss(one, PART, TRUTH, "background"),
    "region, rest ignored": lambda one, other: region_loss(one, PART, TRUTH, "ignored"),
    "deep supervision": lambda one, other: lesion_loss(
        Prediction(positive=one, levels=(other, one)), TRUTH, AuxiliarySettings(levels=0.5)
    ),
    "residual": lambda one, other: residual_loss(Feedback(one, other), ANSWER, TRUTH),
    "divergence": lambda one, other: divergence_loss(Reconstruction(one, one.flatten(1), other.flatten(1))),
}


@pytest.mark.parametrize("term", LOSSES)
def test_every_term_of_the_loss(term: str) -> None:
    assert gradcheck(LOSSES[term], (draw(2, 2, 4, 4), draw(2, 2, 4, 4, seed=1)))


@pytest.mark.parametrize("model", list_models())
def test_every_network_runs_in_float64(model: str) -> None:
    torch.manual_seed(0)
    network = create_model(model, **NARROW.get(model, {}))
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        single = network.eval()(image)
        double = network.double()(image.double())
    assert double.lesion.dtype == torch.float64
    assert not torch.equal(double.positive, double.positive.float().double()), "computed in float32"
    torch.testing.assert_close(double.lesion.float(), single.lesion, rtol=1e-3, atol=1e-3)
