"""Feature maps equal the equations, and recording them changes nothing."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny_network

from taichinet.errors import SettingError
from taichinet.models.taichinet.feature_maps import feature_maps
from taichinet.models.taichinet.network import TaiChiNet

IMAGE = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_feature_maps_equal_the_equations() -> None:
    network = tiny_network().eval()
    maps = feature_maps(network, IMAGE)
    assert isinstance(network, TaiChiNet)
    assert network.negative is not None
    assert network.cross_attention is not None
    assert maps.negative is not None
    assert maps.negative.attended is not None
    assert maps.positive.attended is not None
    with torch.no_grad():
        *skips_n, deep_n = network.negative.encode(IMAGE)
        *skips_p, deep_p = network.positive.encode(IMAGE)
        attended_n, attended_p = network.cross_attention(deep_n, deep_p)
        assert torch.equal(maps.negative.deep, deep_n)
        assert torch.equal(maps.positive.deep, deep_p)
        assert torch.equal(maps.negative.attended, attended_n)
        assert torch.equal(maps.positive.attended, attended_p)
        for path, modules, skips, deep in (
            (maps.negative, network.negative, skips_n, attended_n),
            (maps.positive, network.positive, skips_p, attended_p),
        ):
            features = deep
            for skip, up, block in zip(skips[::-1], modules.ups, modules.decoder, strict=True):
                features = block(torch.cat([skip, up(features)], dim=1))
            assert torch.equal(path.decoded, features)
            assert path.decoded.shape == (2, 2, 32, 32)


def test_recording_does_not_change_prediction_or_network() -> None:
    network = tiny_network().eval()
    with torch.no_grad():
        expected = network(IMAGE)
    recorded = feature_maps(network, IMAGE).prediction
    assert torch.equal(recorded.positive, expected.positive)
    assert recorded.negative is not None
    assert torch.equal(recorded.negative, expected.negative)
    assert not any(module._forward_hooks for module in network.modules())


def test_no_hook_remains_if_the_network_raises() -> None:
    network = tiny_network().eval()
    with pytest.raises(Exception, match="17"):
        feature_maps(network, torch.rand(1, 1, 17, 32))
    assert not any(module._forward_hooks for module in network.modules())


def test_attended_maps_are_none_without_cross_attention() -> None:
    maps = feature_maps(tiny_network(cross_attention=False).eval(), IMAGE)
    assert maps.negative is not None
    assert maps.positive.attended is None
    assert maps.negative.attended is None


def test_one_path_has_no_negative_maps_and_other_networks_are_rejected() -> None:
    one_path = tiny_network(second_path=False, cross_attention=False, head="none").eval()
    assert feature_maps(one_path, IMAGE).negative is None
    with pytest.raises(SettingError, match="not for UNet"):
        feature_maps(tiny_network("unet").eval(), IMAGE)
