"""The recipe of a network in a Python file: `taichinet train FILE.py:NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from taichinet.errors import SettingError, TaiChiNetError
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.baselines import baseline
from taichinet.experiments.recipes.catalogue import SCALES
from taichinet.models.catalogue import create_model, find_entry, model_settings, register_code
from taichinet.models.own_code import read_code
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig

OWN = "own-"  # at the beginning of the name of a recipe
OWN_SCALE = "cpu"


def own_recipe(argument: str, changes: Mapping[str, object], scale: str = OWN_SCALE) -> Experiment:
    """The recipe of a network outside the package: the settings of `SCALE-unet`, under the name own-NAME.

    At another scale than `cpu`, the name is SCALE-own-NAME.

    The file is executed. Then the network is tried, so that a network that does not satisfy the contract of
    `models/own_network.py` is refused before the training.

    Args:
        argument: FILE.py:NAME, see `read_code`.
        changes: Settings that differ from the recipe, by dotted key.
        scale: Scale of the recipe.

    Raises:
        SettingError: The file cannot be read or executed, the network does not satisfy the contract, or a setting is
            not valid.
    """
    code = read_code(argument)
    name = f"{OWN}{code.name}" if scale == OWN_SCALE else f"{scale}-{OWN}{code.name}"
    recipe = vary(baseline(SCALES[scale](), register_code(code)), {"name": name, **changes})
    try_network(recipe)
    return recipe


def try_network(recipe: Experiment) -> None:
    """Predict an empty image, and save and load the weights, as after the training.

    Raises:
        SettingError: One of these fails.
    """
    title, size = find_entry(recipe.model).title, recipe.data.size
    channels = model_settings(recipe.model, **recipe.options).in_channels
    network = create_model(recipe.model, **recipe.options).eval()
    image = torch.zeros(1, channels, size, size)
    try:
        with torch.no_grad():
            network(image)
    except TaiChiNetError:
        raise
    except Exception as error:  # the code of the user may raise anything
        raise SettingError(
            f"Network {title} cannot process images {tuple(image.shape)}: {type(error).__name__}: {error}. Correct the "
            "network, or change the images: --set options.in_channels=3 for RGB, --set data.size=PIXELS."
        ) from error
    with TemporaryDirectory() as folder:
        try:
            load_weights(save_weights(network, WeightsConfig(recipe.model, recipe.options, size), Path(folder)))
        except TaiChiNetError as error:
            raise SettingError(
                f"The weights of network {title} cannot be saved and loaded: {error} It must have the same finite "
                "parameters each time that it is built, and no parameter twice."
            ) from error
