"""The networks by name: create_model and list_models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from torch import nn

from taichinet.errors import SettingError, unknown_name
from taichinet.models.taichinet.network import TaiChiNet
from taichinet.models.taichinet.settings import TaiChiNetSettings
from taichinet.models.unet import UNet, UNetSettings
from taichinet.models.unet_plus_plus import UNetPlusPlus, UNetPlusPlusSettings


@dataclass(frozen=True)
class Entry:
    """One network of the catalogue: how to build it, and what its options are."""

    settings: type[BaseModel]
    build: Callable[[Any], nn.Module]
    paper: str


CATALOGUE: dict[str, Entry] = {
    "taichinet": Entry(TaiChiNetSettings, TaiChiNet, "Wang et al., TaiChiNet"),
    "unet": Entry(UNetSettings, UNet, "Ronneberger et al., MICCAI 2015"),
    "unet++": Entry(UNetPlusPlusSettings, UNetPlusPlus, "Zhou et al., TMI 2020"),
}


def list_models() -> tuple[str, ...]:
    """Names that `create_model` takes."""
    return tuple(CATALOGUE)


def model_settings(name: str, **options: object) -> BaseModel:
    """The validated options of network `name`; SettingError names an unknown network, option or value."""
    if name not in CATALOGUE:
        raise unknown_name("model", name, list_models())
    settings = CATALOGUE[name].settings
    for option in options:
        if option not in settings.model_fields:
            raise unknown_name(f"option of model '{name}'", option, tuple(settings.model_fields))
    try:
        return settings.model_validate(options)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or name} = {e.get('input')!r}: {e['msg']}" for e in error.errors()
        )
        raise SettingError(f"Model '{name}' cannot be built: {details}.") from error


def create_model(name: str, **options: object) -> nn.Module:
    """A freshly initialised network, e.g. `create_model("taichinet", in_channels=3)`.

    It maps images (B, in_channels, H, W) in [0, 1] to a `Prediction`. Draws its weights from torch's global
    generator: seed that first. Raises SettingError for an unknown name, option or value.
    """
    settings = model_settings(name, **options)
    return CATALOGUE[name].build(settings)
