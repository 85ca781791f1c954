"""RF-Net: sub-totals of the source, two passes of one set of weights, the feedback by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taichinet.errors import SettingError
from taichinet.models.baselines.rf_net import RFNet, RFNetSettings, contrast_of
from taichinet.models.catalogue import create_model


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def build(**options: object) -> RFNet:
    torch.manual_seed(0)
    return RFNet(RFNetSettings.model_validate(options)).eval()


@pytest.mark.parametrize(
    ("options", "total"),
    [({"in_channels": 3}, 22_011_970), ({"contrast_input": True}, 22_008_834), ({"in_channels": 1}, 22_005_698)],
    ids=["three", "contrast", "one"],
)
def test_the_totals_are_the_sources(options: dict[str, object], total: int) -> None:
    assert count(build(**options)) == total


def test_every_part_has_the_sources_size() -> None:
    network = build(contrast_input=True)
    assert [count(part) for part in network.encoder.stem] == [6_272, 128, 0]
    assert [count(stage) for stage in network.encoder.stages] == [221_952, 1_116_416, 6_822_400, 13_114_368]
    assert [count(block) for block in network.decoder] == [247_296, 62_208, 15_744, 4_640]
    assert count(network.head) == 18_464 + 9_248 + 289
    residual = network.residual
    parts = (residual.of_deepest, residual.of_deep, residual.merge, residual.output)
    assert [count(part) for part in parts] == [147_520, 73_792, 147_520, 577]


def test_without_feedback_the_second_pass_is_the_first() -> None:
    network = build()
    with torch.no_grad():
        network.residual.output.weight.zero_()
        network.residual.output.bias.fill_(-1e4)  # type: ignore[union-attr]
    prediction = network(torch.rand(1, 1, 64, 64))
    assert prediction.feedback is not None
    assert torch.equal(prediction.positive, prediction.feedback.first_pass)


def test_full_feedback_doubles_the_features_at_every_place() -> None:
    """R = 1 everywhere multiplies stem and stages by 2, which hooks can do to a network without feedback."""
    image = torch.rand(1, 1, 64, 64)
    full = build()
    with torch.no_grad():
        full.residual.output.weight.zero_()
        full.residual.output.bias.fill_(1e4)  # type: ignore[union-attr]
    for places, doubled in ((5, 4), (4, 3)):
        full.settings = full.settings.model_copy(update={"feedback_places": places})
        expected = build()
        parts = [expected.encoder.stem, *list(expected.encoder.stages)[:doubled]]
        for part in parts:
            part.register_forward_hook(lambda module, inputs, output: output * 2)
        feedback = expected(image).feedback
        assert feedback is not None
        torch.testing.assert_close(full(image).positive, feedback.first_pass, rtol=1e-3, atol=1e-4)


def test_the_residual_map_learns_from_the_answer() -> None:
    network = build(num_classes=2).train()
    prediction = network(torch.rand(2, 1, 64, 64))
    assert prediction.feedback is not None
    assert prediction.feedback.residual.shape == (2, 2, 32, 32)
    prediction.positive.square().mean().backward()
    assert float(network.residual.output.weight.grad.abs().max()) > 0  # type: ignore[union-attr]


def test_the_second_channel_is_how_near_a_pixel_is_to_mid_grey() -> None:
    image = torch.rand(2, 1, 8, 8)
    sigma = image.flatten(1).std(dim=1).reshape(2, 1, 1, 1)
    torch.testing.assert_close(contrast_of(image), torch.exp(-((image - 0.5) ** 2) / (2 * sigma**2)))
    assert torch.isfinite(contrast_of(torch.full((1, 1, 4, 4), 0.2))).all()
    with pytest.raises(SettingError, match="leave in_channels at 1"):
        create_model("rf-net", contrast_input=True, in_channels=3)
