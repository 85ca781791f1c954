"""Registry of the networks: create_model, list_models and register_model."""

from __future__ import annotations

from pydantic import ValidationError
from torch import nn

from taichinet.errors import SettingError, unknown_name
from taichinet.models import unet, unet_lite, unet_timm
from taichinet.models.baselines import (
    aau_net,
    attention_unet,
    ce_net,
    de_resunet,
    deeplab,
    fat_net,
    rf_net,
    unet_plus_plus,
    x_net,
)
from taichinet.models.entry import Entry
from taichinet.models.entry_points import entry_point_names
from taichinet.models.own_code import NetworkCode, is_own_model
from taichinet.models.own_network import Factory, load_entry_point, own_entry, unloaded_entry
from taichinet.models.settings import BaselineSettings, NetworkSettings
from taichinet.models.taichinet import lite, network, on_timm
from taichinet.models.two_paths import TwoPaths

CATALOGUE: dict[str, Entry] = {}


def register_model(name: str, entry: Entry | Factory) -> None:
    """Add a network to the catalogue, also from outside the package.

    Afterwards `create_model(name)` and all commands that run in the same process can use it.

    Args:
        name: Name of the network for `create_model`, recipes and commands.
        entry: Class or function that returns a PyTorch module with the contract of `models/own_network.py`, or the
            description of a network whose options are a pydantic model.

    Raises:
        SettingError: The name is already registered.
    """
    if name in CATALOGUE:
        raise SettingError(f"A model '{name}' is already registered ({CATALOGUE[name].title}). Choose another name.")
    CATALOGUE[name] = entry if isinstance(entry, Entry) else own_entry(name, entry)


def register_code(code: NetworkCode) -> str:
    """Execute the file of a network, unless this process has done so, and add the network to the catalogue.

    Returns:
        The name of the network, NAME@DIGEST.

    Raises:
        SettingError: The file cannot be executed, or has no such class or function.
    """
    if code.model not in CATALOGUE:
        register_model(code.model, own_entry(f"{code.file}:{code.name}", code.execute(), code))
    return code.model


register_model("taichinet", network.ENTRY)
register_model("unet", unet.ENTRY)
register_model("unet++", unet_plus_plus.ENTRY)
register_model("attention-unet", attention_unet.ENTRY)
register_model("deeplabv3", deeplab.V3_ENTRY)
register_model("deeplabv3+", deeplab.V3_PLUS_ENTRY)
register_model("ce-net", ce_net.ENTRY)
register_model("fat-net", fat_net.ENTRY)
register_model("x-net", x_net.ENTRY)
register_model("rf-net", rf_net.ENTRY)
register_model("de-resunet", de_resunet.ENTRY)
register_model("aau-net", aau_net.ENTRY)
register_model("unet-lite", unet_lite.ENTRY)
register_model("taichinet-lite", lite.ENTRY)
register_model("unet-timm", unet_timm.ENTRY)
register_model("taichinet-timm", on_timm.ENTRY)


def list_models() -> tuple[str, ...]:
    """Names of all networks that `create_model` can build, with those of installed packages."""
    return tuple(dict.fromkeys((*CATALOGUE, *entry_point_names())))


def find_entry(name: str) -> Entry:
    """The catalogue entry of network `name`; a network of an installed package is imported.

    Raises:
        SettingError: The name is unknown; the message suggests the closest name. Or the network of an installed package
            cannot be imported.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if isinstance(name, str) and is_own_model(name):  # its records can be read without its code
        return unloaded_entry(name)
    entry = load_entry_point(name)
    if entry is None:
        raise unknown_name("model", name, list_models())
    register_model(name, entry)
    return entry


def model_settings(name: str, **options: object) -> NetworkSettings:
    """Validate the options of a network.

    Args:
        name: Name of the network.
        **options: Options that differ from the defaults.

    Returns:
        All options of the network.

    Raises:
        SettingError: Unknown name or option, or an invalid value.
    """
    settings = find_entry(name).settings
    for option in options:
        if option not in settings.model_fields and settings.model_config.get("extra") != "allow":
            raise unknown_name(f"option of model '{name}'", option, tuple(settings.model_fields))
    try:
        return settings.model_validate(options)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {e.get('input')!r}: {e['msg']}"
            if e["loc"]
            else e["msg"].removeprefix("Value error, ")
            for e in error.errors()
        )
        raise SettingError(f"Model '{name}' cannot be built: {details}.") from error


def size_multiple(name: str, **options: object) -> int:
    """Height and width of the images of a network must be multiples of this number, which is also their minimum.

    Raises:
        SettingError: As in `model_settings`.
    """
    return model_settings(name, **options).size_multiple or find_entry(name).size_multiple


def create_model(name: str, **options: object) -> nn.Module:
    """Build a network with random initialisation, e.g. `create_model("taichinet", in_channels=3)`.

    The initialisation uses PyTorch's global random generator: seed it for reproducible weights.

    Args:
        name: Name of the network, see `list_models`.
        **options: Options that differ from the defaults.

    Returns:
        A module that maps images (B, in_channels, H, W) in [0, 1] to a `Prediction`.

    Raises:
        SettingError: Unknown name or option, or an invalid value.
    """
    settings = model_settings(name, **options)
    build = find_entry(name).build
    if isinstance(settings, BaselineSettings) and settings.second_path is not None:
        path = settings.model_copy(update={"second_path": None})
        return TwoPaths(build(path), build(path.for_second_path()), path, settings.second_path)
    return build(settings)
