"""Networks from outside the package: any class or function that returns a PyTorch module with the contract below.

The module maps images (B, C, H, W) in [0, 1] to logits (B, R, H, W) of R regions, or to a `Prediction`. It needs no
other attribute or method. `OwnNetwork` wraps it, so that the rest of the package receives a `Prediction`.

The class or function receives the options as keyword arguments: `in_channels` (C) and `num_classes` (R) if it has
parameters of these names, and all further options that are set.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Self

from pydantic import ConfigDict, model_validator
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.errors import SettingError
from taichinet.models.backbones import PACKAGED, PRETRAINED
from taichinet.models.entry import Entry
from taichinet.models.entry_points import ENTRY_POINTS
from taichinet.models.own_code import NetworkCode
from taichinet.models.settings import BaselineSettings
from taichinet.signals import EXIT_TERMINATED

_PASSED_IF_NAMED = ("in_channels", "num_classes")
Factory = Callable[..., nn.Module]


class OwnSettings(BaselineSettings):
    """Options of a network from outside the package: also those that its class or function has."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _no_pretrained_weights(self) -> Self:
        for name in self.model_extra or ():
            if name.startswith((PRETRAINED, PACKAGED)):
                raise ValueError(
                    f"options.{name}: the names {PRETRAINED}* and {PACKAGED}* are those of ImageNet weights of the "
                    "catalogue, which trained weights are loaded without. Give the parameter another name"
                )
        return self


class OwnNetwork(nn.Module):
    """A module from outside the package: image (B, C, H, W) in [0, 1] -> Prediction."""

    def __init__(self, network: nn.Module, settings: OwnSettings, title: str) -> None:
        """Wrap `network`; `title` names it in messages."""
        super().__init__()
        self.network = network
        self.settings = settings
        self.title = title

    def forward(self, image: Tensor) -> Prediction:
        """The prediction of the network.

        Raises:
            SettingError: The network returns something else than logits (B, R, H, W) or a `Prediction`, or calls
                sys.exit.
        """
        try:
            output = self.network(image)
        except SystemExit as error:
            if error.code == EXIT_TERMINATED:  # SIGTERM
                raise
            raise SettingError(f"Network {self.title} called sys.exit({error.code!r}). Remove the call.") from error
        if isinstance(output, Tensor):
            output = Prediction(positive=at_least_float32(output))
        # `len(image)` would make the batch size of an exported graph constant.
        expected = (image.shape[0], self.settings.num_classes, *image.shape[-2:])
        if not isinstance(output, Prediction) or output.positive.shape != expected:
            returned = output.positive if isinstance(output, Prediction) else output
            shape = f"shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else f"a {type(returned).__name__}"
            raise SettingError(
                f"Network {self.title} returned {shape} for images {tuple(image.shape)}. It must return logits "
                f"{expected} (batch, regions, height, width), or a taichinet.batch.Prediction with such logits."
            )
        return output


def own_entry(title: str, factory: Factory, code: NetworkCode | None = None) -> Entry:
    """The catalogue entry of a network from outside the package.

    Args:
        title: Name for tables and messages.
        factory: Class or function that returns the network.
        code: The file that was executed; None for a network of an installed package or of the running program.
    """
    build = partial(_build, title, factory)
    return Entry(title, OwnSettings, build, "own network", "high", source=None, code=code)


def unloaded_entry(name: str) -> Entry:
    """The entry of a network whose code has not been executed: its options are known, but it cannot be built."""

    def refuse(settings: OwnSettings) -> nn.Module:
        raise SettingError(
            f"The code of network '{name}' is not loaded. Train it with its file, FILE.py:{name.partition('@')[0]}, or "
            "use its weights with --trust-code."
        )

    return Entry(name, OwnSettings, refuse, "own network", "high", source=None)


def _build(title: str, factory: Factory, settings: OwnSettings) -> OwnNetwork:
    """Call the class or function with its options; raises SettingError if it fails or returns no module."""
    options = _arguments(title, factory, settings)
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    try:
        network = factory(**options)
    except (Exception, SystemExit) as error:  # the code of the user may raise anything
        if isinstance(error, SystemExit) and error.code == EXIT_TERMINATED:  # SIGTERM
            raise
        raise SettingError(
            f"Network {title} cannot be built: {title}({given}) raised {type(error).__name__}: {error}. Correct the "
            "network, or set other options (--set options.NAME=VALUE)."
        ) from error
    if not isinstance(network, nn.Module):
        raise SettingError(f"{title}({given}) returned a {type(network).__name__}, but must return a torch.nn.Module.")
    return OwnNetwork(network, settings, title)


def _arguments(title: str, factory: Factory, settings: OwnSettings) -> dict[str, Any]:
    """The keyword arguments for `factory`; raises SettingError if it has no parameter for an option."""
    options: dict[str, Any] = dict(settings.model_extra or {})
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(factory).parameters
    except ValueError:  # no signature is known
        return options
    options |= {name: getattr(settings, name) for name in _PASSED_IF_NAMED if name in parameters}
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [name for name in options if name not in parameters]
    if unknown and not takes_all:
        raise SettingError(
            f"Network {title} has no option '{unknown[0]}'. Its parameters: {', '.join(parameters) or 'none'}. Leave "
            f"out options.{unknown[0]}, or add the parameter."
        )
    return options


def load_entry_point(name: str) -> Entry | None:
    """Import the network that an installed package adds under `name`; None if there is none.

    Raises:
        SettingError: It cannot be imported, or is neither an `Entry` nor a class or function.
    """
    found = tuple(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        return None
    point = found[0]
    origin = f"entry point '{name} = {point.value}' of package {point.dist.name if point.dist else 'unknown'}"
    try:
        loaded = point.load()
    except Exception as error:  # the package may raise anything
        raise SettingError(
            f"The {origin} cannot be imported ({type(error).__name__}: {error}). Repair or uninstall the package."
        ) from error
    if isinstance(loaded, Entry):
        return loaded
    if not callable(loaded):
        raise SettingError(
            f"The {origin} is a {type(loaded).__name__}, but must be a class or function that returns a "
            "torch.nn.Module, or a taichinet.models.entry.Entry. Report it to the authors of the package."
        )
    return own_entry(name, loaded)
