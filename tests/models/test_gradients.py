"""Analytic gradients equal numerical gradients in float64, for the head, the attention and every loss term."""

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
def test_gradient_of_the_complementary_head_is_correct(head: str, space: str, mutual: str) -> None:
    torch.manual_seed(0)
    settings = CouplingSettings.model_validate({"head": head, "head_space": space, "mutual": mutual, "head_hidden": 3})
    network = ComplementaryHead(settings, regions=2).double()
    assert gradcheck(network, (draw(1, 2, 3, 3), draw(1, 2, 3, 3, seed=1)))


def test_gradient_of_the_cross_attention_is_correct() -> None:
    torch.manual_seed(0)
    network = CrossAttention(4, 6).double()
    assert gradcheck(network, (draw(2, 6, 2, 2), draw(2, 4, 2, 2, seed=1)))
    assert gradcheck(channel_attention, (draw(1, 4, 2, 3), draw(1, 5, 2, 3, seed=1), draw(1, 5, 2, 3, seed=2)))


TARGET = mask(2, 2, 4, 4)
POSITIVE = draw(2, 2, 4, 4, seed=5).detach()  # a target: the term gives it no gradient
PART = TARGET * (torch.arange(4) < 2)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice": lambda first, second: dice_loss(first, TARGET),
    "dice of an empty target": lambda first, second: dice_loss(first, torch.zeros_like(TARGET)),
    "cross-entropy": lambda first, second: cross_entropy(first, TARGET),
    "segmentation": lambda first, second: segmentation_loss(first, TARGET),
    "complementary": lambda first, second: complementary_loss(first, second),
    "consistent": lambda first, second: complementary_loss(first, second, negative_sees_background=False),
    "region, rest as background": lambda first, second: region_loss(first, PART, TARGET, "background"),
    "region, rest ignored": lambda first, second: region_loss(first, PART, TARGET, "ignored"),
    "deep supervision": lambda first, second: lesion_loss(
        Prediction(positive=first, levels=(second, first)), TARGET, AuxiliarySettings(levels=0.5)
    ),
    "residual": lambda first, second: residual_loss(Feedback(first, second), POSITIVE, TARGET),
    "divergence": lambda first, second: divergence_loss(Reconstruction(first, first.flatten(1), second.flatten(1))),
}


@pytest.mark.parametrize("term", LOSSES)
def test_gradient_of_every_loss_term_is_correct(term: str) -> None:
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
