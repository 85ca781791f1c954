"""RF-Net: parameter counts, two passes with shared weights, the feedback, and an independent second implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from written_out import Parts, assert_agree, gflops, randomised

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
def test_totals_equal_the_source(options: dict[str, object], total: int) -> None:
    assert count(build(**options)) == total


def test_every_part_has_the_size_of_the_source() -> None:
    network = build(contrast_input=True)
    assert [count(part) for part in network.encoder.stem] == [6_272, 128, 0]
    assert [count(stage) for stage in network.encoder.stages] == [221_952, 1_116_416, 6_822_400, 13_114_368]
    assert [count(block) for block in network.decoder] == [247_296, 62_208, 15_744, 4_640]
    assert [count(part) for part in network.head.layers] == [18_464, 0, 9_248, 0, 289]
    assert count(network.residual) == 369_409
    residual = network.residual
    parts = (residual.of_deepest, residual.of_deep, residual.merge, residual.output)
    assert [count(part) for part in parts] == [147_520, 73_792, 147_520, 577]


def test_second_pass_without_feedback_equals_the_first() -> None:
    network = build()
    with torch.no_grad():
        network.residual.output.weight.zero_()
        network.residual.output.bias.fill_(-1e4)  # type: ignore[union-attr]
    prediction = network(torch.rand(1, 1, 64, 64))
    assert prediction.feedback is not None
    assert torch.equal(prediction.positive, prediction.feedback.first_pass)


def test_full_feedback_doubles_the_features_at_every_place() -> None:
    """R = 1 multiplies stem and stages by 2, like hooks in a network without feedback."""
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


def test_residual_map_has_a_gradient_from_the_output() -> None:
    network = build(num_classes=2).train()
    prediction = network(torch.rand(2, 1, 64, 64))
    assert prediction.feedback is not None
    assert prediction.feedback.residual.shape == (2, 2, 32, 32)
    prediction.positive.square().mean().backward()
    assert float(network.residual.output.weight.grad.abs().max()) > 0  # type: ignore[union-attr]


def test_second_channel_is_the_closeness_to_mid_grey() -> None:
    image = torch.rand(2, 1, 8, 8)
    sigma = image.flatten(1).std(dim=1).reshape(2, 1, 1, 1)
    torch.testing.assert_close(contrast_of(image), torch.exp(-((image - 0.5) ** 2) / (2 * sigma**2)))
    assert torch.isfinite(contrast_of(torch.full((1, 1, 4, 4), 0.2))).all()
    with pytest.raises(SettingError, match="requires in_channels=1"):
        create_model("rf-net", contrast_input=True, in_channels=3)


STEM = 2 * 7 * 7 * 64 * 112 * 112 / 1e9  # GFLOPs per input channel, which the source counts twice


@pytest.mark.parametrize(
    ("options", "stated", "channels"), [({"contrast_input": True}, 24.63, 2), ({}, 24.48, 1)], ids=["contrast", "one"]
)
def test_flops_equal_the_source_without_the_repeated_stem(
    options: dict[str, bool], stated: float, channels: int
) -> None:
    cost = gflops(RFNet(RFNetSettings.model_validate(options)).eval(), channels=1)
    assert cost == pytest.approx(stated - channels * STEM, abs=0.011)


def test_first_pass_has_the_flops_of_the_source() -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = build(contrast_input=True)
        *skips, x = network.encoder(torch.zeros(1, 2, 224, 224))
        decoded = []
        for block, skip in zip(network.decoder, (*reversed(skips), 0), strict=True):
            decoded.append(x := block(x) + skip)
        network.head(x)
        network.residual(*decoded)
    assert counter.get_total_flops() / 1e9 == pytest.approx(14.26, abs=0.011)


def decoder_block(p: Parts, x: Tensor) -> Tensor:
    raised = F.interpolate(p["reduce"].conv_norm_relu(0, x), scale_factor=2, mode="bilinear", align_corners=True)
    return p["expand"].conv_norm_relu(0, p["refine"].conv_norm_relu(0, raised))


def one_pass(p: Parts, image: Tensor, multipliers: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Logits, and d1 to d4; the stem and the four layers are multiplied by `multipliers`."""
    x = F.max_pool2d(p["encoder"]["stem"].resnet_stem(image) * multipliers[0], 3, 2, 1)
    e1 = p["encoder"]["stages"][0].resnet_layer(x, stride=1) * multipliers[1]
    e2 = p["encoder"]["stages"][1].resnet_layer(e1, stride=2) * multipliers[2]
    e3 = p["encoder"]["stages"][2].resnet_layer(e2, stride=2) * multipliers[3]
    e4 = p["encoder"]["stages"][3].resnet_layer(e3, stride=2) * multipliers[4]
    d4 = decoder_block(p["decoder"][0], e4) + e3
    d3 = decoder_block(p["decoder"][1], d4) + e2
    d2 = decoder_block(p["decoder"][2], d3) + e1
    d1 = decoder_block(p["decoder"][3], d2)
    layers, raised = p["head"]["layers"], F.interpolate(d1, scale_factor=2, mode="bilinear", align_corners=True)
    return layers.conv(4, F.relu(layers.conv(2, F.relu(layers.conv(0, raised))))), [d1, d2, d3, d4]


def residual_map(p: Parts, d1: Tensor, d2: Tensor, d3: Tensor, d4: Tensor) -> Tensor:
    scales = [d1, d2, F.relu(p.conv("of_deep", d3)), F.relu(p.conv("of_deepest", d4))]
    same_size = [F.interpolate(scale, size=d1.shape[2:], mode="bilinear", align_corners=True) for scale in scales]
    return p.conv("output", F.relu(p.conv("merge", torch.cat(same_size, dim=1))))


@pytest.mark.parametrize(("places", "contrast"), [(5, False), (4, False), (5, True)])
def test_network_equals_the_independent_implementation(places: int, contrast: bool) -> None:
    torch.manual_seed(0)
    settings = RFNetSettings.model_validate({"feedback_places": places, "contrast_input": contrast})
    network = randomised(RFNet(settings), channels=1, size=64)
    image = torch.rand(2, 1, 64, 96)
    with torch.no_grad():  # scale the residual map so that it varies between 0 and 1, also after pooling
        logits = network(image).feedback.residual
        network.residual.output.weight.mul_(10 / logits.std())
        assert network.residual.output.bias is not None
        network.residual.output.bias.sub_(logits.median()).mul_(10 / logits.std())
    p = Parts(network.state_dict())
    with torch.no_grad():
        prediction = network(image)
        if contrast:
            image = torch.cat([image, contrast_of(image)], dim=1)
        first, decoded = one_pass(p, image, [torch.ones(())] * 5)
        logits = residual_map(p["residual"], *decoded)
        r = torch.sigmoid(logits)
        assert float(F.avg_pool2d(r, 16).std()) > 0.05
        multipliers = [1 + r, *(1 + F.avg_pool2d(r, 2**layer) for layer in (1, 2, 3, 4))]
        if places == 4:
            multipliers[4] = torch.ones(())
        second, _ = one_pass(p, image, multipliers)
    assert_agree(prediction.feedback.first_pass, first)
    assert_agree(prediction.feedback.residual, logits)
    assert_agree(prediction.positive, second)
    assert not p.unused
