"""The presence head of the lite networks: product of probabilities, its loss, and the scale of each image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taichinet.batch import Batch, Prediction
from taichinet.losses.presence import presence_term
from taichinet.models.catalogue import create_model
from taichinet.models.efficientnet_lite import ImageScale
from taichinet.models.mirrored import Mirrored
from taichinet.models.presence_head import PresenceHead, gated
from taichinet.models.taichinet.network import TaiChiNet


@pytest.mark.parametrize("presence", [-60.0, -2.0, 0.0, 3.0, 60.0])
def test_the_gated_probability_is_the_product(presence: float) -> None:
    logits = torch.linspace(-40, 40, 9, dtype=torch.float64).view(1, 1, 3, 3)
    of_image = torch.tensor([[presence]], dtype=torch.float64)
    product = torch.sigmoid(logits) * torch.sigmoid(of_image)[:, :, None, None]
    torch.testing.assert_close(torch.sigmoid(gated(logits, of_image)), product, rtol=1e-9, atol=1e-30)


def test_gates_of_regions_and_images_are_separate_and_have_finite_gradients() -> None:
    logits = (torch.randn(2, 2, 4, 4) * 100).requires_grad_()
    presence = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    result = gated(logits, presence)
    torch.testing.assert_close(result[0, 0], logits[0, 0].clamp(max=100), rtol=0, atol=1)
    assert (result[0, 1] <= -99).all()
    assert (result[1, 0] <= -99).all()
    result.sum().backward()
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
    assert torch.isfinite(presence.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["taichinet-lite", "unet-lite"])
def test_the_head_gates_the_output_of_the_lite_networks(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name, presence_head=True, decoder_width=4).eval()
    image = torch.rand(2, 1, 64, 64)
    head = next(module for module in network.modules() if isinstance(module, PresenceHead))
    with torch.inference_mode():
        nn.init.constant_(head.linear.bias, 60.0)
        open_gate = network(image)
        nn.init.constant_(head.linear.bias, -60.0)
        closed = network(image)
    assert open_gate.presence.tolist() == [[60.0], [60.0]]
    assert open_gate.lesion.max() > 1e-3
    assert closed.lesion.max() < 1e-20
    without = create_model(name, decoder_width=4).eval()
    own = {key: value for key, value in network.state_dict().items() if "presence_head" not in key}
    without.load_state_dict(own)
    with torch.inference_mode():
        plain = without(image)
    assert plain.presence is None
    torch.testing.assert_close(open_gate.positive, plain.positive)
    if isinstance(network, TaiChiNet):
        torch.testing.assert_close(open_gate.negative, closed.negative)
        with torch.inference_mode():
            torch.testing.assert_close(network.positive_alone(image).presence, closed.presence)
            assert network.positive_alone(image).lesion.max() < 1e-20


def test_the_presence_term_trains_the_head() -> None:
    image, lesion = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    lesion[1, :, 2:4, 2:4] = 1
    batch, logits = Batch(image, lesion), torch.zeros(2, 1, 8, 8)
    without = presence_term(Prediction(logits), batch)
    right = presence_term(Prediction(logits, presence=torch.tensor([[-9.0], [9.0]])), batch)
    wrong = presence_term(Prediction(logits, presence=torch.tensor([[9.0], [-9.0]])), batch)
    torch.testing.assert_close(right, without, rtol=0, atol=1e-3)
    torch.testing.assert_close(wrong, without + 9, rtol=0, atol=1e-3)


def test_a_mirrored_network_drops_the_presence() -> None:
    network = Mirrored(create_model("unet-lite", presence_head=True, decoder_width=4).eval())
    with torch.inference_mode():
        assert network(torch.rand(1, 1, 64, 64)).presence is None


def test_the_scale_of_an_image_does_not_depend_on_gain_or_black_borders() -> None:
    torch.manual_seed(0)
    image = 0.3 + 0.4 * torch.rand(2, 1, 32, 32)
    scale = ImageScale()
    torch.testing.assert_close(scale(image * 0.5), scale(image), rtol=0, atol=0.02)
    bordered = torch.nn.functional.pad(image, (16, 16))
    torch.testing.assert_close(scale(bordered)[..., 16:-16], scale(image))
    assert torch.isfinite(scale(torch.zeros(1, 1, 8, 8))).all()
    assert torch.isfinite(scale(torch.ones(1, 1, 8, 8))).all()
