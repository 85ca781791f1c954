"""Read and write trained weights: model.safetensors and config.json in one folder (Hugging Face layout), no pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from taichinet.errors import SettingError, WeightsError
from taichinet.models.catalogue import CATALOGUE, create_model, find_entry, model_settings, register_code
from taichinet.models.own_code import NetworkCode, model_of, read_content
from taichinet.models.own_network import OwnSettings
from taichinet.models.settings import MAX_SIZE
from taichinet.models.training_images import LISTS, TRAINING_IMAGES_FILE, join_lists, split_lists
from taichinet.storage.atomic import replacing, write_bytes
from taichinet.storage.digest import digest_file
from taichinet.storage.tensors import save_tensors

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
ROUNDED_FROM = "rounded_from"  # in the provenance of float16 weights: SHA-256 of the file that they were rounded from


@dataclass(frozen=True)
class WeightsConfig:
    """Configuration that is needed to use trained weights, stored in config.json.

    Attributes:
        model: Name of the network.
        options: Options of the network.
        size: Input resolution (height and width) in pixels.
        threshold: Probability threshold of the mask; that of the decision if there is one.
        decision: Fields of `evaluation.decision.Decision`, which was chosen on validation images; None (absent in the
            file) for weights without one.
        code: File name, class and SHA-256 of the code of a network from outside the package, which is beside this file;
            set by `save_weights`. None (absent in the file) for all other networks.
        provenance: Origin of the weights. Its lists of training images are written to training_images.json.
        digest: SHA-256 of model.safetensors, set by `save_weights`. None in folders written by earlier versions.
    """

    model: str
    options: dict[str, Any]
    size: int
    threshold: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    digest: str | None = field(default=None, compare=False)
    decision: dict[str, Any] | None = None
    code: dict[str, str] | None = field(default=None, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files of the weights."""
        lists = () if self.provenance.keys().isdisjoint(LISTS) else (TRAINING_IMAGES_FILE,)
        return (CONFIG_FILE, WEIGHTS_FILE, *lists, *(() if self.code is None else (self.code["file"],)))

    def to_json_dict(self) -> dict[str, Any]:
        """The content of config.json."""
        absent = {name for name in ("decision", "code") if getattr(self, name) is None}
        provenance, _ = split_lists(self.provenance)
        return {key: value for key, value in asdict(replace(self, provenance=provenance)).items() if key not in absent}


@dataclass(frozen=True)
class LoadedWeights:
    """A network in evaluation mode, in float32, with its configuration and the folder that it was loaded from."""

    network: nn.Module
    config: WeightsConfig
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Name for messages: the folder that the weights were loaded from, or the name of the network."""
        return self.config.model if self.folder is None else str(self.folder)

    @property
    def channels(self) -> int:
        """Number of input channels of the network."""
        return model_settings(self.config.model, **self.config.options).in_channels

    @property
    def unverified(self) -> str:
        """Warning for the user if the weights have no recorded digest; empty if the digest was verified."""
        if self.config.digest is not None:
            return ""
        return f"The weights have no digest in {CONFIG_FILE} (written by an earlier version): not verified."


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
        recorded = replace(config, digest=digest_file(new_weights), code=None if code is None else code.to_json_dict())
        new_config.write_text(json.dumps(recorded.to_json_dict(), indent=1) + "\n", encoding="utf-8")
    return folder


def find_weights(path: Path) -> tuple[Path, ...]:
    """The weights folders of a study (all folds) or of a run, or `path` itself; raises WeightsError without weights."""
    if path.name == WEIGHTS_FILE:
        path = path.parent
    if (path / CONFIG_FILE).is_file():
        return (path,)
    if (path / "weights" / CONFIG_FILE).is_file():
        return (path / "weights",)
    folds = tuple(sorted(config.parent for config in path.glob(f"fold-*/weights/{CONFIG_FILE}")))
    if not folds:
        raise WeightsError(
            f"No weights at {path}: it has no {CONFIG_FILE}. Give a weights folder, a run folder "
            "(RUNS/dataset/recipe/protocol/fold-0), or a study (RUNS/dataset/recipe/protocol)."
        )
    return folds


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
    folder = path.parent if path.name == WEIGHTS_FILE else path
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise WeightsError(
                f"No {name} in {folder}. Weights are a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, such as the "
                "weights/ of a run."
            )
    try:
        config = WeightsConfig(**json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        _check_config(config)
        config = replace(config, provenance=join_lists(config.provenance, folder))
        digest = digest_file(folder / WEIGHTS_FILE)
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"The weights in {folder} cannot be read ({error}). Copy or train them again.") from error
    if config.digest not in (None, digest):
        raise WeightsError(
            f"{folder / WEIGHTS_FILE} is damaged or was replaced: its SHA-256 is {digest}, but {CONFIG_FILE} records "
            f"{config.digest}. Copy or train the weights again."
        )
    _check_finite(tensors, folder)
    if config.code is not None:
        _load_code(config.model, config.code, folder, trust_code)
    expected = _expected_tensors(config, folder)
    multiple = find_entry(config.model).size_multiple  # also the minimum size
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
    network = create_model(config.model, **config.options)
    network.load_state_dict({name: value.to(expected[name].dtype) for name, value in tensors.items()})
    return LoadedWeights(network.eval(), config, folder)


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
            "give --trust-code to `predict`, `evaluate`, `export` or `package-weights` (trust_code=True in Python)."
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


def _check_code(model: str, record: object) -> None:
    """Raise TypeError or ValueError for an invalid record of the code in config.json."""
    keys = ("file", "name", "sha256")
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in keys):
        raise TypeError(f"{CONFIG_FILE}: 'code' must be a dictionary with the texts {', '.join(keys)}")
    if not re.fullmatch(r"[^/\\\0:]+\.py", record["file"]):
        raise ValueError(f"{CONFIG_FILE}: 'code.file' is {record['file']!r}, but must be the name of a .py file")
    if not re.fullmatch(r"[0-9a-f]{64}", record["sha256"]) or model != model_of(record["name"], record["sha256"]):
        raise ValueError(f"{CONFIG_FILE}: 'model' is {model!r}, which is not the network of 'code'")


def _check_config(config: WeightsConfig) -> None:
    """Raise TypeError or ValueError for an invalid value in config.json."""
    if not isinstance(config.model, str) or not isinstance(config.options, dict):
        raise TypeError(f"{CONFIG_FILE}: 'model' must be a name and 'options' a dictionary")
    if not isinstance(config.provenance, dict) or not isinstance(config.digest, str | None):
        raise TypeError(f"{CONFIG_FILE}: 'provenance' must be a dictionary and 'digest' a string")
    if not isinstance(config.decision, dict | None):
        raise TypeError(f"{CONFIG_FILE}: 'decision' must be a dictionary")
    if config.code is not None:
        _check_code(config.model, config.code)
    if type(config.size) is not int or not 1 <= config.size <= MAX_SIZE:
        raise ValueError(
            f"{CONFIG_FILE}: 'size' is {config.size!r}, but must be a number of pixels from 1 to {MAX_SIZE}"
        )
    if type(config.threshold) not in (int, float) or not 0 <= config.threshold <= 1:
        raise ValueError(f"{CONFIG_FILE}: 'threshold' is {config.threshold!r}, but must be a probability from 0 to 1")


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
