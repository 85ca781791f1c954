"""Networks from outside the package: the signature, their options, registration and entry points."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taichinet
from taichinet.batch import Prediction
from taichinet.errors import SettingError, WeightsError
from taichinet.experiments.recipes.catalogue import get_recipe, list_recipes
from taichinet.experiments.recipes.own import own_recipe
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.eager import PLAIN
from taichinet.models import catalogue as models
from taichinet.models import entry_points, own_network
from taichinet.models.catalogue import CATALOGUE, create_model, list_models, register_code, register_model
from taichinet.models.own_code import read_code
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig


class Convolution(nn.Conv2d):
    """Without options: one grey channel, one region."""

    def __init__(self) -> None:
        super().__init__(1, 1, kernel_size=1)


class WithOptions(nn.Module):
    def __init__(self, in_channels: int, num_classes: int, width: int = 2, returned: str = "logits") -> None:
        super().__init__()
        self.returned = returned
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.Conv2d(width, num_classes, 1)
        )

    def forward(self, image: Tensor) -> object:
        logits = self.layers(image)
        return {
            "logits": logits,
            "prediction": Prediction(positive=logits, negative=-logits),
            "half": logits[..., ::2],
            "list": [logits],
        }[self.returned]


@pytest.fixture(autouse=True)
def _separate_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = dict(CATALOGUE)
    for module in ("models.catalogue", "models.weights", "models.own_network"):
        monkeypatch.setattr(f"taichinet.{module}.CATALOGUE", catalogue, raising=False)


def write(folder: Path, text: str) -> Path:
    (folder / "net.py").write_text(text, encoding="utf-8")
    return folder / "net.py"


def test_class_without_options_is_registered_and_predicts() -> None:
    taichinet.register_model("convolution", Convolution)
    network = create_model("convolution").eval()
    assert network(torch.rand(2, 1, 16, 16)).positive.shape == (2, 1, 16, 16)
    predictor = Predictor(LoadedWeights(lambda: network, WeightsConfig("convolution", {}, 32)), PLAIN)
    assert predictor.predict(torch.zeros(20, 30, dtype=torch.uint8).numpy()).mask.shape == (20, 30)


def test_options_channels_and_regions_are_passed_to_the_class() -> None:
    register_model("own", WithOptions)
    network = create_model("own", in_channels=3, num_classes=2, width=5)
    assert network(torch.rand(1, 3, 16, 16)).positive.shape == (1, 2, 16, 16)
    assert network.network.layers[0].out_channels == 5  # type: ignore[union-attr, index]


def test_network_may_return_a_prediction_with_a_second_path() -> None:
    register_model("own", WithOptions)
    network = create_model("own", returned="prediction")
    assert network(torch.rand(1, 1, 16, 16)).negative is not None


def test_second_path_is_added_to_any_network() -> None:
    register_model("own", WithOptions)
    network = create_model("own", second_path={"head": "c"})
    assert network(torch.rand(1, 1, 16, 16)).negative.shape == (1, 1, 16, 16)


@pytest.mark.parametrize(("returned", "what"), [("half", r"shape \(1, 1, 16, 8\)"), ("list", "a list")])
def test_other_output_is_refused_with_its_shape(returned: str, what: str) -> None:
    register_model("own", WithOptions)
    with pytest.raises(SettingError, match=rf"Network own returned {what} .*must return logits \(1, 1, 16, 16\)"):
        create_model("own", returned=returned)(torch.rand(1, 1, 16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3}, "no option 'depth'. Its parameters: in_channels, num_classes, width, returned"),
        ({"width": "wide"}, r"WithOptions|own\(.*width='wide'.*raised TypeError"),
        ({"pretrained": True}, "options.pretrained: the names"),
        ({"encoder_weights": "imagenet"}, "options.encoder_weights: the names"),
        ({"in_channels": 0}, "in_channels = 0"),
    ],
)
def test_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    register_model("own", WithOptions)
    with pytest.raises(SettingError, match=message):
        create_model("own", **options)


def test_function_that_returns_no_module_is_refused() -> None:
    register_model("own", lambda: "network")  # type: ignore[arg-type, return-value]
    with pytest.raises(SettingError, match=r"returned a str, but must return a torch\.nn\.Module"):
        create_model("own")


def test_recipes_of_a_registered_network_exist_at_every_scale() -> None:
    register_model("own", WithOptions)
    assert get_recipe("short-own").training == get_recipe("short-unet").training
    assert get_recipe("cpu-own-second-path").options["second_path"] == {"head": "c"}
    assert "busi-own" in list_recipes()


# ------------------------------------------------------------------------------------------- entry points


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes an installed package with an entry point `plugin = VALUE`."""

    def install(value: str) -> None:
        points = EntryPoints([EntryPoint("plugin", value, entry_points.ENTRY_POINTS)])
        for module in (entry_points, own_network):
            monkeypatch.setattr(module, "entry_points", lambda **given: points.select(**given))
        entry_points.entry_point_names.cache_clear()

    yield install
    entry_points.entry_point_names.cache_clear()


def test_network_of_an_installed_package_has_recipes_and_weights(entry_point: Any, tmp_path: Path) -> None:
    entry_point(f"{__name__}:WithOptions")
    assert "plugin" in list_models()
    assert get_recipe("cpu-plugin").model == "plugin"
    folder = save_weights(create_model("plugin"), WeightsConfig("plugin", {}, 32), tmp_path)
    assert load_weights(folder).config.code is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("absent_package:Net", r"'plugin = absent_package:Net'.* cannot be imported \(ModuleNotFoundError"),
        (f"{__name__}:PAGES", "cannot be imported .AttributeError"),
        ("taichinet:__version__", "is a str, but must be a class or function"),
    ],
)
def test_broken_entry_point_is_named(entry_point: Any, value: str, message: str) -> None:
    entry_point(value)
    with pytest.raises(SettingError, match=message):
        create_model("plugin")


# -------------------------------------------------------------------------------------------------- files


NET = "import torch\n\nclass Net(torch.nn.Conv2d):\n    def __init__(self):\n        super().__init__(1, 1, 1)\n"


def test_network_of_a_file_can_be_sent_to_another_process(tmp_path: Path) -> None:
    network = create_model(register_code(read_code(f"{write(tmp_path, NET)}:Net")))
    copy = pickle.loads(pickle.dumps(network))  # noqa: S301
    image = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(copy(image).positive, network(image).positive)


def test_recipe_of_a_file_has_the_settings_of_cpu_unet(tmp_path: Path) -> None:
    recipe = own_recipe(f"{write(tmp_path, NET)}:Net", {"training.epochs": 3, "data.size": 32})
    unet = get_recipe("cpu-unet")
    assert recipe.name == "own-Net"
    assert (recipe.training.epochs, recipe.data.size) == (3, 32)
    assert recipe.training.learning_rate == unet.training.learning_rate
    assert recipe.objective == unet.objective


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import absent_package", r"net\.py cannot be executed \(ModuleNotFoundError.*only installed packages"),
        ("class Net(", r"net\.py cannot be executed \(SyntaxError"),
        ("Net = 3", "no class or function 'Net'. It has: none"),
        (NET.replace("1, 1, 1)", "3, 1, 1)"), r"cannot process images \(1, 1, 128, 128\).*in_channels=3 for RGB"),
        (NET.replace("1, 1, 1)", "1, 2, 1)"), r"returned shape \(1, 2, 128, 128\)"),
        (
            "import torch\n\ndef Net():\n    layer = torch.nn.Conv2d(1, 1, 1)\n"
            "    return torch.nn.Sequential(layer, layer)\n",
            "weights of network net.py:Net cannot be saved and loaded",
        ),
    ],
)
def test_network_that_cannot_be_trained_is_refused_before_the_training(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=message):
        own_recipe(f"{write(tmp_path, text)}:Net", {})


@pytest.mark.parametrize(
    "changes",
    [
        {"code": None},
        {"code": {"file": "net.py"}},
        {"file": "../net.py"},
        {"file": "/tmp/net.py"},  # noqa: S108
        {"file": "net.txt"},
        {"sha256": "0" * 64},
        {"name": "Other"},
        {"model": "unet"},
    ],
    ids=str,
)
def test_invalid_record_of_the_code_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    model = register_code(read_code(f"{write(tmp_path, NET)}:Net"))
    folder = save_weights(create_model(model), WeightsConfig(model, {}, 32), tmp_path / "weights")
    config = json.loads((folder / "config.json").read_text())
    inside = {key: value for key, value in changes.items() if key not in config}
    config = {**config, **{key: value for key, value in changes.items() if key in config}}
    if inside:
        config["code"] |= inside
    (folder / "config.json").write_text(json.dumps(config))
    del models.CATALOGUE[model]
    with pytest.raises(WeightsError):
        load_weights(folder, trust_code=True)
    assert model not in models.CATALOGUE
