"""Networks on encoders from timm: levels, input channels, weights from a file, and encoders that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from taichinet.errors import SettingError, WeightsError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.models.catalogue import create_model, size_multiple
from taichinet.models.timm_encoder import encoder_levels

# Levels at 1/2 to 1/32; at 1/4 to 1/32; at 1/4 to 1/32 with the channels as the last axis.
ENCODERS = ("test_efficientnet", "test_convnext", "test_mambaout")


def encoder_of(network: nn.Module) -> nn.Module:
    return network.get_submodule("path.encoder.0")


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("model", ["unet-timm", "taichinet-timm"])
def test_any_encoder_gives_logits_of_the_size_of_the_image(model: str, encoder: str) -> None:
    torch.manual_seed(0)
    network = create_model(model, encoder=encoder, in_channels=2, num_classes=3, decoder_width=4).train()
    prediction = network(torch.rand(2, 2, 64, 96))
    assert prediction.positive.shape == (2, 3, 64, 96)
    assert size_multiple(model, encoder=encoder) == 32
    (
        prediction.positive.sum() if prediction.negative is None else (prediction.positive + prediction.negative).sum()
    ).backward()
    assert all(weight.grad is not None for weight in network.parameters())
    with pytest.raises(SettingError, match="not a multiple of 32"):
        network(torch.rand(2, 2, 48, 96))


def test_features_are_those_of_timm_on_the_normalised_image() -> None:
    torch.manual_seed(0)
    encoder = encoder_of(create_model("unet-timm", encoder="test_mambaout", in_channels=3)).eval()
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        features = encoder(image)
        expected = encoder.features((image - mean) / std)  # type: ignore[operator]
    assert [level.shape[1] for level in features] == list(encoder_levels("test_mambaout").values())
    assert torch.equal(features[-1], expected[-1].permute(0, 3, 1, 2))


def weights_file(encoder: str, folder: Path) -> tuple[Path, dict[str, Tensor]]:
    torch.manual_seed(1)
    state = timm.create_model(encoder).state_dict()
    torch.save(state, folder / f"{encoder}.pth")
    return folder / f"{encoder}.pth", state


@pytest.mark.parametrize("encoder", ENCODERS)
def test_imagenet_weights_are_loaded_from_a_local_file(encoder: str, tmp_path: Path) -> None:
    path, _ = weights_file(encoder, tmp_path)
    torch.manual_seed(2)
    network = create_model("unet-timm", encoder=encoder, pretrained=str(path), in_channels=3).eval()
    image = torch.rand(1, 3, 64, 64)
    whole = timm.create_model(encoder, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    with torch.no_grad():
        scaled = encoder_of(network).scale(image)  # type: ignore[operator]
        for own, expected in zip(encoder_of(network).features(scaled), whole.eval()(scaled), strict=True):  # type: ignore[operator]
            assert torch.equal(own, expected)
        grey = create_model("unet-timm", encoder=encoder, pretrained=str(path)).eval()
        repeated = encoder_of(grey).features(scaled[:, :1])  # type: ignore[operator]
        expected = whole(scaled[:, :1].repeat(1, 3, 1, 1))
    torch.testing.assert_close(repeated[0], expected[0], rtol=1e-4, atol=1e-4)


def test_weights_of_another_encoder_are_rejected(tmp_path: Path) -> None:
    path, state = weights_file("test_convnext", tmp_path)
    with pytest.raises(WeightsError, match=r"not those of test_efficientnet: tensor 'conv_stem\.weight' is missing"):
        create_model("unet-timm", encoder="test_efficientnet", pretrained=str(path))
    torch.save({key: value * float("nan") for key, value in state.items()}, path)
    with pytest.raises(WeightsError, match="not finite"):
        create_model("unet-timm", encoder="test_convnext", pretrained=str(path))
    with pytest.raises(SettingError, match=r"no file .*missing.*nothing is downloaded"):
        create_model("unet-timm", encoder="test_convnext", pretrained=str(tmp_path / "missing.pth"))


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        ("resnet18s", r"Unknown encoder 'resnet18s'"),
        ("test_vit", r"features at 1/16, 1/16, 1/16.*several scales.*options\.encoder"),
        ("hf-hub:timm/resnet18", "Unknown encoder"),
    ],
)
def test_encoder_without_features_at_several_scales_is_rejected(encoder: str, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        vary(get_recipe("cpu-unet-timm"), {"options.encoder": encoder})


def test_size_of_the_images_is_checked_by_the_encoder() -> None:
    with pytest.raises(SettingError, match=r"data\.size = 144 does not fit model 'unet-timm'.*multiples of 32"):
        vary(get_recipe("cpu-unet-timm"), {"data.size": 144})
