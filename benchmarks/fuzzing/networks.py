"""Targets with a network: settings, weights, checkpoints."""

from __future__ import annotations

import json
import math
import warnings
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from fuzzing.mutations import VALUES, mutate_bytes, mutate_json
from fuzzing.target import Case, Target, WrongValueError
from taichinet.experiments.experiment import Experiment, parse_assignments, vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.models.catalogue import create_model
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import CONFIG_FILE, WEIGHTS_FILE, WeightsConfig
from taichinet.training.checkpoint import CURRENT, PREVIOUS, Checkpoint, load_checkpoint, save_checkpoint

MODEL, OPTIONS = "unet", {"width": 1}
_MOST_SIZE = 4096
_MOST_PARAMETERS = 2**28


def tiny_weights(folder: Path) -> Path:
    """Weights of a U-Net of width 1."""
    torch.manual_seed(0)
    return save_weights(create_model(MODEL, **OPTIONS), WeightsConfig(MODEL, OPTIONS, 32), folder)


def read_files(folder: Path) -> dict[str, bytes]:
    """The content of the files below `folder` by their path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def same_tensors(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Whether both have the same names and the same bits."""
    return one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype and torch.equal(one[name].view(-1), two[name].view(-1)) for name in one
    )


def _make_config(files: dict[str, bytes], random: Random) -> Case:
    return Case({**files, CONFIG_FILE: mutate_json(random, json.loads(files[CONFIG_FILE]))})


def _check_config(folder: Path, _: Case) -> None:
    """An accepted configuration has a size that can be computed and a threshold that is a probability."""
    config = load_weights(folder).config
    if type(config.size) is not int or not 16 <= config.size <= _MOST_SIZE:
        raise WrongValueError(f"size {config.size!r} is accepted")
    threshold = config.threshold
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise WrongValueError(f"threshold {threshold!r} is accepted")


def _make_weights(files: dict[str, bytes], random: Random) -> Case:
    content = files[WEIGHTS_FILE]
    match random.randrange(6):
        case 0:
            tensors = load(content)
            name = random.choice([name for name, value in tensors.items() if value.is_floating_point()])
            tensors[name].view(-1)[0] = random.choice((float("nan"), float("inf"), 1e38, 0.123))
            content = save(tensors)
        case 1:
            tensors = load(content)
            one, two = random.sample(list(tensors), 2)
            tensors[one], tensors[two] = tensors[two], tensors[one]
            content = save(tensors)
        case 2:
            size = int.from_bytes(content[:8], "little")
            header = mutate_json(random, json.loads(content[8 : 8 + size]))
            content = len(header).to_bytes(8, "little") + header + content[8 + size :]
        case _:
            content = mutate_bytes(random, content)
    return Case({**files, WEIGHTS_FILE: content})


def _check_weights(reference: dict[str, Tensor], folder: Path, _: Case) -> None:
    """Damaged weights are refused, or have the values that were saved."""
    if not same_tensors(load_weights(folder).network.state_dict(), reference):
        raise WrongValueError("damaged weights are loaded with other values")


def _checkpoints(folder: Path) -> tuple[dict[str, bytes], list[dict[str, Tensor]]]:
    """The files of two checkpoints, and the weights in each."""
    weights = []
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        network = create_model(MODEL, **OPTIONS)
        optimizer = torch.optim.Adam(network.parameters())
        state = network.state_dict()
        history = [{"epoch": number, "loss": 0.5} for number in range(epoch)]
        save_checkpoint(
            Checkpoint("identity", epoch, state, optimizer.state_dict(), state, 0.25, epoch, history), folder
        )
        weights.append(state)
    return {name: (folder / name).read_bytes() for name in (CURRENT, PREVIOUS)}, weights


def _make_checkpoint(files: dict[str, bytes], random: Random) -> Case:
    changed = {**files, CURRENT: mutate_bytes(random, files[CURRENT])}
    if random.randrange(3) == 0:
        changed[PREVIOUS] = mutate_bytes(random, files[PREVIOUS])
    return Case(changed)


def _check_checkpoint(weights: list[dict[str, Tensor]], folder: Path, _: Case) -> None:
    """A resumed training starts from one of the two checkpoints that were saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_checkpoint(folder, "identity")
    if found is None:
        raise WrongValueError("a damaged checkpoint counts as none: the training would begin again in silence")
    if found.epoch not in (1, 2):
        raise WrongValueError(f"resumes from epoch {found.epoch}, which was never saved")
    expected = weights[found.epoch - 1]
    whole = found.best_dice == 0.25 and found.best_epoch == found.epoch and len(found.history) == found.epoch
    if not whole or not same_tensors(found.network, expected) or not same_tensors(found.best, expected):
        raise WrongValueError("a damaged checkpoint is loaded with other values")


_TEXTS = (
    *("!!bool q", "!!int x", "!!python/object:os.system x", "2024-99-99", "2024-01-01", "&a [*a]", "*a", "{{}: 1}"),
    *("[" * 3000, "{a: " * 3000, "7" * 5000, "1e30", "1e38", ".inf", "-.inf", ".nan", "0x10", "1_000", "1:30", "~"),
    *("16384", "100000", "1e9", "-1", "0", "true", "'", '"', "[1, 2]", "{a: 1}", "!!binary x", "!!set {a}", "%", "@"),
)


def _keys(document: Any, before: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in document.items():
        keys += [f"{before}{key}", *(_keys(value, f"{before}{key}.") if isinstance(value, dict) else [])]
    return keys


def _make_settings(keys: list[str], random: Random) -> Case:
    words = []
    for _ in range(random.choice((1, 1, 2))):
        key = random.choice(keys)
        if random.randrange(8) == 0:
            key = mutate_bytes(random, key.encode()).decode(errors="replace")[:200]
        text = random.choice(_TEXTS) if random.randrange(3) else str(random.choice(VALUES))
        if random.randrange(4) == 0:
            text = mutate_bytes(random, text.encode()[:50]).decode(errors="replace")
        words.append(f"{key}={text}")
    return Case(words=tuple(words))


def _check_settings(start: Experiment, _: Path, case: Case) -> None:
    """Accepted settings are finite, and their network can be built on this machine."""
    experiment = vary(start, parse_assignments(list(case.words)))
    if bad := [value for value in _numbers(experiment.model_dump()) if not math.isfinite(value)]:
        raise WrongValueError(f"{bad[0]} is accepted as a setting")
    if experiment.data.size > _MOST_SIZE:
        raise WrongValueError(f"size {experiment.data.size} is accepted")
    if experiment.options != start.options or experiment.model != start.model:
        with torch.device("meta"):
            network = create_model(experiment.model, **experiment.options)
        count = sum(parameter.numel() for parameter in network.parameters())
        if count > _MOST_PARAMETERS:
            raise WrongValueError(f"a network of {count} parameters is accepted")


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in _numbers(inner)]
    if isinstance(value, list | tuple):
        return [number for inner in value for number in _numbers(inner)]
    return [value] if isinstance(value, float) else []


def targets(seeds: Path) -> list[Target]:
    """The targets of this file; `seeds` is a folder to write into."""
    weights = tiny_weights(seeds / "weights")
    reference = load_weights(weights).network.state_dict()
    files = read_files(weights)
    checkpoints, states = _checkpoints(seeds / "checkpoints")
    start = get_recipe("demo-taichinet")
    options = [f"options.{key}" for key in ("width", "head", "in_channels", "attention", "answer", "norm", "depth")]
    keys = [*_keys(start.model_dump()), *options]
    use = "predict, evaluate, export"
    return [
        Target("settings", "train --set", partial(_make_settings, keys), partial(_check_settings, start), 15),
        Target("config", use, partial(_make_config, files), _check_config, 10),
        Target("weights", use, partial(_make_weights, files), partial(_check_weights, reference), 10),
        Target(
            "checkpoint",
            "train --resume",
            partial(_make_checkpoint, checkpoints),
            partial(_check_checkpoint, states),
            10,
        ),
    ]
