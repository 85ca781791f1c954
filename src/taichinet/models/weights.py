"""Trained weights on disk: model.safetensors and config.json in one folder, the Hugging Face layout; never a pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from taichinet.errors import SettingError, WeightsError
from taichinet.models.catalogue import create_model

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


@dataclass(frozen=True)
class WeightsConfig:
    """What must be known to use the weights: the network, the input it wants, the threshold, where they come from."""

    model: str
    options: dict[str, Any]
    size: int
    threshold: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedWeights:
    """A network in evaluation mode, float32, with its configuration."""

    network: nn.Module
    config: WeightsConfig

    @property
    def channels(self) -> int:
        """Input channels of the network."""
        return int(self.network.settings.in_channels)  # type: ignore[union-attr, arg-type]


def save_weights(network: nn.Module, config: WeightsConfig, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write both files into `folder`; floating-point tensors in `dtype` (float16 halves the size)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(tensors, folder / f"{WEIGHTS_FILE}.tmp")
    (folder / f"{WEIGHTS_FILE}.tmp").replace(folder / WEIGHTS_FILE)
    (folder / f"{CONFIG_FILE}.tmp").write_text(json.dumps(asdict(config), indent=1) + "\n", encoding="utf-8")
    (folder / f"{CONFIG_FILE}.tmp").replace(folder / CONFIG_FILE)
    return folder


def load_weights(path: Path) -> LoadedWeights:
    """Build the network that `path` (the folder, or its model.safetensors) describes and load its weights.

    Raises WeightsError for a missing or torn file, or tensors that do not fit the configuration.
    """
    folder = path.parent if path.name == WEIGHTS_FILE else path
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise WeightsError(
                f"No {name} in {folder}. Weights are a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, such as the "
                "weights/ of a run."
            )
    try:
        config = WeightsConfig(**json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        if not isinstance(config.model, str) or not isinstance(config.options, dict):
            raise TypeError(f"{CONFIG_FILE}: 'model' must be a name and 'options' a mapping")
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise WeightsError(f"The weights in {folder} cannot be read ({error}). Copy or train them again.") from error
    try:
        network = create_model(config.model, **config.options)
    except SettingError as error:
        raise WeightsError(f"{folder / CONFIG_FILE} describes a network that cannot be built. {error}") from error
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(tensors)) or [
        name for name, value in expected.items() if value.shape != tensors[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"The weights in {folder} do not fit model '{config.model}' with {config.options}: {len(wrong)} tensors "
            f"differ, first '{wrong[0]}'. {CONFIG_FILE} and {WEIGHTS_FILE} must come from the same run."
        )
    network.load_state_dict({name: value.to(expected[name].dtype) for name, value in tensors.items()})
    return LoadedWeights(network.eval(), config)
