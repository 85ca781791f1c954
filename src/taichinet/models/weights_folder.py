"""A folder with trained weights: its files, config.json and digest, without torch.

A runtime with a graph file needs nothing else. `models/weights.py` loads the tensors into a network.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taichinet.errors import WeightsError
from taichinet.models.own_code import model_of
from taichinet.models.settings import MAX_SIZE
from taichinet.models.training_images import LISTS, TRAINING_IMAGES_FILE, join_lists, split_lists
from taichinet.storage.atomic import storage_errors, temporary_folder
from taichinet.storage.digest import digest_file

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
PACKAGED = Path(str(files("taichinet"))) / "weights"
"""The folder of the weights in the package."""


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
        channels: Number of input channels of the network, set by `save_weights`. None in folders written by earlier
            versions, whose network has to be looked up.
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
    channels: int | None = field(default=None, compare=False)
    code: dict[str, str] | None = field(default=None, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files of the weights."""
        lists = () if self.provenance.keys().isdisjoint(LISTS) else (TRAINING_IMAGES_FILE,)
        return (CONFIG_FILE, WEIGHTS_FILE, *lists, *(() if self.code is None else (self.code["file"],)))

    def to_json_dict(self) -> dict[str, Any]:
        """The content of config.json."""
        absent = {name for name in ("decision", "channels", "code") if getattr(self, name) is None}
        provenance, _ = split_lists(self.provenance)
        return {key: value for key, value in asdict(replace(self, provenance=provenance)).items() if key not in absent}


@dataclass(frozen=True)
class LoadedWeights:
    """Trained weights: a verified configuration, and the network, which is built when it is first used.

    Attributes:
        build: Builds the network in evaluation mode, in float32, on the CPU.
        config: Configuration of the weights.
        folder: The folder that they were loaded from; None for a network in memory.
    """

    build: Callable[[], nn.Module]
    config: WeightsConfig
    folder: Path | None = None

    @cached_property
    def network(self) -> nn.Module:
        """The network. The first use imports torch."""
        import torch

        with torch.inference_mode(False):  # whatever the mode of the first use, the network can be trained
            return self.build()

    @property
    def name(self) -> str:
        """Name for messages: that of weights in the package, the folder of others, or the name of the network."""
        if self.folder is None:
            return self.config.model
        return self.folder.name if self.folder.parent == PACKAGED else str(self.folder)

    @property
    def channels(self) -> int:
        """Number of input channels of the network."""
        if self.config.channels is not None:
            return self.config.channels
        if self.config.code is not None:
            _ = self.network  # adds the network to the catalogue
        from taichinet.models.catalogue import model_settings

        return model_settings(self.config.model, **self.config.options).in_channels

    @property
    def unverified(self) -> str:
        """Warning for the user if the weights have no recorded digest; empty if the digest was verified."""
        if self.config.digest is not None:
            return ""
        return f"The weights have no digest in {CONFIG_FILE} (written by an earlier version): not verified."


def find_weights(path: Path) -> tuple[Path, ...]:
    """The weights folders that a user means, for all commands and functions that take weights.

    Args:
        path: Weights in the package by name ("best-lite"), a weights folder or the model.safetensors in it, a run
            folder, or a study folder.

    Returns:
        One folder, or that of each fold of a study.

    Raises:
        WeightsError: There are no weights.
    """
    if path.name == WEIGHTS_FILE:
        path = path.parent
    if (path / CONFIG_FILE).is_file():
        return (path,)
    if (path / "weights" / CONFIG_FILE).is_file():
        return (path / "weights",)
    packaged = PACKAGED / path.name
    if path.parts == (path.name,) and not path.exists() and (packaged / CONFIG_FILE).is_file():
        return (packaged,)
    folds = tuple(sorted(config.parent for config in path.glob(f"fold-*/weights/{CONFIG_FILE}")))
    if not folds:
        names = ", ".join(sorted(folder.name for folder in PACKAGED.iterdir() if folder.is_dir()))
        raise WeightsError(
            f"No weights at {path}: it has no {CONFIG_FILE}. Give a weights folder, a run folder "
            "(RUNS/dataset/recipe/protocol/fold-0), a cross-validation (RUNS/dataset/recipe/protocol), or the name of "
            f"weights in the package ({names})."
        )
    return folds


def find_one_weights(path: Path) -> Path:
    """As `find_weights`, where only one network can be used; raises WeightsError for a study with several folds."""
    folders = find_weights(path)
    if len(folders) > 1:
        raise WeightsError(
            f"{path} has the weights of {len(folders)} folds, but one network is needed. Give one of them, e.g. "
            f"{folders[0].parent}, or the network that was trained on all images ({path / 'all-images'})."
        )
    return folders[0]


def copy_weights(source: Path, folder: Path) -> Path:
    """Copy a weights folder with all its files: weights, configuration, lists, code, model card, graphs.

    Args:
        source: The weights folder.
        folder: The copy; it must be absent or empty.

    Returns:
        `folder`.

    Raises:
        WeightsError: `folder` is not empty.
        StorageError: A file cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{folder} exists and is not an empty folder. Give the name of a new folder.")
    with storage_errors(folder), temporary_folder(folder.absolute().parent) as temporary:
        copied = shutil.copytree(source, temporary / folder.name, copy_function=shutil.copyfile)
        copied.replace(folder)
    return folder


def open_weights(path: Path, trust_code: bool = False) -> LoadedWeights:
    """Read and verify the configuration of weights, and the digest of their tensors, without building the network.

    Args:
        path: The folder, or the model.safetensors in it.
        trust_code: Whether the code of a network from outside the package may be executed, which is in the folder.

    Returns:
        The weights. Their network is built, and may raise WeightsError, when it is first used.

    Raises:
        WeightsError: A file is missing or damaged, or the digest of the tensors is not the recorded one.
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
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise unreadable(folder, error) from error
    if config.digest not in (None, digest):
        raise WeightsError(
            f"{folder / WEIGHTS_FILE} is damaged or was replaced: its SHA-256 is {digest}, but {CONFIG_FILE} records "
            f"{config.digest}. Copy or train the weights again."
        )

    def build() -> nn.Module:
        from taichinet.models.weights import build_network

        return build_network(folder, config, trust_code)

    return LoadedWeights(build, config, folder)


def unreadable(folder: Path, error: Exception) -> WeightsError:
    """The error for weights in `folder` that cannot be read."""
    return WeightsError(f"The weights in {folder} cannot be read ({error}). Copy or train them again.")


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
    if config.channels is not None and (type(config.channels) is not int or config.channels < 1):
        raise ValueError(f"{CONFIG_FILE}: 'channels' is {config.channels!r}, but must be a number above 0")
    if config.code is not None:
        _check_code(config.model, config.code)
    if type(config.size) is not int or not 1 <= config.size <= MAX_SIZE:
        raise ValueError(
            f"{CONFIG_FILE}: 'size' is {config.size!r}, but must be a number of pixels from 1 to {MAX_SIZE}"
        )
    if type(config.threshold) not in (int, float) or not 0 <= config.threshold <= 1:
        raise ValueError(f"{CONFIG_FILE}: 'threshold' is {config.threshold!r}, but must be a probability from 0 to 1")
