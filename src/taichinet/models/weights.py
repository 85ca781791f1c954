"""Writes trained weights, and loads them into a network: safetensors and JSON (Hugging Face layout), no pickle.

`models/weights_folder.py` has the part that needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from taichinet.errors import SettingError, WeightsError
from taichinet.models.catalogue import CATALOGUE, create_model, model_settings, register_code, size_multiple
from taichinet.models.own_code import NetworkCode, read_content
from taichinet.models.own_network import OwnSettings
from taichinet.models.training_images import TRAINING_IMAGES_FILE, split_lists
from taichinet.models.weights_folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    LoadedWeights,
    WeightsConfig,
    open_weights,
    unreadable,
)
from taichinet.storage.atomic import replacing, write_bytes
from taichinet.storage.digest import digest_file
from taichinet.storage.tensors import save_tensors

ROUNDED_FROM = "rounded_from"  # in the provenance of float16 weights: SHA-256 of the file that they were rounded from


def save_weights(network: nn.Module, config: WeightsConfig, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write model.safetensors and config.json, which includes the digests of the other files.

    The lists of training images are written to training_images.json. For a network that was read from a file, this
    file is written beside them.

    Args:
        network: The network whose parameters and buffers are written.
        config: Configuration of the weights; its `digest` is replaced.
        folder: Output folder; created if it does not exist.
        dtype: Precision of the floating-point tensors; float16 halves the file size.

    Returns:
        `folder`.

    Raises:
        WeightsError: A parameter or buffer is not finite.
        StorageError: A file cannot be written. Earlier files are unchanged.
    """
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    _check_finite(tensors, folder)
    entry = CATALOGUE.get(config.model)
    code = None if entry is None else entry.code
    if code is not None:
        write_bytes(folder / code.file, code.content)
    _, training_images = split_lists(config.provenance)
    if training_images is not None:
        write_bytes(folder / TRAINING_IMAGES_FILE, training_images)
    # Neither file gets its final name before both are complete.
    with replacing(folder / CONFIG_FILE) as new_config, replacing(folder / WEIGHTS_FILE) as new_weights:
        save_tensors(tensors, new_weights)
        recorded = replace(
            config,
            digest=digest_file(new_weights),
            channels=None if entry is None else model_settings(config.model, **config.options).in_channels,
            code=None if code is None else code.to_json_dict(),
        )
        new_config.write_text(json.dumps(recorded.to_json_dict(), indent=1) + "\n", encoding="utf-8")
    return folder


def load_weights(path: Path, trust_code: bool = False) -> LoadedWeights:
    """Build the network described by config.json and load its weights.

    Args:
        path: The folder, or the model.safetensors in it.
        trust_code: Whether the code of a network from outside the package may be executed, which is in the folder.

    Returns:
        The network on the CPU in evaluation mode, with its configuration.

    Raises:
        WeightsError: A file is missing or damaged, its digest is not the recorded one, a value is not finite, the
            tensors do not fit the configuration, or the code of the network is not trusted.
    """
    loaded = open_weights(path, trust_code)
    _ = loaded.network  # so that errors are raised here
    return loaded


def build_network(folder: Path, config: WeightsConfig, trust_code: bool) -> nn.Module:
    """Build the network of `config` and load its tensors, for `LoadedWeights.network`; raises as `load_weights`."""
    tensors = trained_tensors(folder)
    if config.code is not None:
        _load_code(config.model, config.code, folder, trust_code)
    expected = _expected_tensors(config, folder)
    multiple = size_multiple(config.model, **config.options)
    if config.size % multiple:
        raise WeightsError(
            f"{folder / CONFIG_FILE}: 'size' is {config.size}, but model '{config.model}' requires a multiple of "
            f"{multiple} px. Copy or train the weights again."
        )
    wrong = sorted(set(expected) ^ set(tensors)) or [
        name for name, value in expected.items() if value.shape != tensors[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"The weights in {folder} do not fit model '{config.model}' with {config.options}: {len(wrong)} tensors "
            f"differ, first '{wrong[0]}'. {CONFIG_FILE} and {WEIGHTS_FILE} must come from the same run."
        )
    channels = model_settings(config.model, **config.options).in_channels
    if config.channels not in (None, channels):
        raise WeightsError(
            f"{folder / CONFIG_FILE}: 'channels' is {config.channels}, but model '{config.model}' with "
            f"{config.options} takes {channels}. Copy or train the weights again."
        )
    network = create_model(config.model, **config.options)
    network.load_state_dict({name: value.to(expected[name].dtype) for name, value in tensors.items()})
    return network.eval()


def trained_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of weights by name, without building the network; raises WeightsError if they are damaged."""
    try:
        tensors: dict[str, Tensor] = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise unreadable(folder, error) from error
    _check_finite(tensors, folder)
    return tensors


def _expected_tensors(config: WeightsConfig, folder: Path) -> dict[str, Tensor]:
    """The tensors of the network, whose shapes are compared with those of the file; raises WeightsError."""
    try:
        # No memory is allocated on the meta device, but not all networks from outside the package support it.
        own = isinstance(model_settings(config.model, **config.options), OwnSettings)
        with torch.device("cpu" if own else "meta"):
            return create_model(config.model, **config.options).state_dict()
    except SettingError as error:
        raise WeightsError(f"{folder / CONFIG_FILE} describes a network that cannot be built. {error}") from error


def _load_code(model: str, record: Mapping[str, str], folder: Path, trust_code: bool) -> None:
    """Execute the code of a network from outside the package, unless this process has executed the same file."""
    path = folder / record["file"]
    if model in CATALOGUE:
        return
    if not trust_code:
        raise WeightsError(
            f"The weights in {folder} are of a network from outside taichinet: loading them would execute {path} "
            f"(SHA-256 {record['sha256']}), which can do anything that you can. Read this file, and if you trust it, "
            "give --trust-code (trust_code=True in Python)."
        )
    try:
        code = NetworkCode(record["file"], record["name"], read_content(path))
        if code.sha256 != record["sha256"]:
            raise WeightsError(
                f"{path} was changed after the training: its SHA-256 is {code.sha256}, but {CONFIG_FILE} records "
                f"{record['sha256']}. It was not executed. Restore the file, or train the network again."
            )
        register_code(code)
    except SettingError as error:
        raise WeightsError(f"The code of the weights in {folder} cannot be loaded. {error}") from error


def _check_finite(tensors: Mapping[str, Tensor], folder: Path) -> None:
    name = first_not_finite(tensors)
    if name is not None:
        raise WeightsError(
            f"{folder / WEIGHTS_FILE} has values that are not finite (tensor '{name}'). Train the network again with "
            "a lower learning rate, or in float32."
        )


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or infinite value, or None if all values are finite."""
    filled = {name: value for name, value in tensors.items() if value.numel()}
    if not filled:
        return None
    flags = torch.stack([all_finite(value) for value in filled.values()]).tolist()  # one copy from the device
    return next((name for name, finite in zip(filled, flags, strict=True) if not finite), None)


def all_finite(values: Tensor) -> Tensor:
    """Whether no value is NaN or infinite: a boolean scalar on the device of `values`, which must not be empty."""
    # Minimum and maximum are NaN if any value is NaN. This takes a tenth of the time of `isfinite` on every value.
    return torch.stack(torch.aminmax(values.detach())).isfinite().all()
