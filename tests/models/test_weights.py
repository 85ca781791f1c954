"""Weights on disk: verified on loading; complete or unchanged on writing."""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_network
from safetensors.torch import load_file, save_file

from taichinet.errors import SettingError, StorageError, WeightsError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.inference.shipped import shipped_weights
from taichinet.models import weights as weights_module
from taichinet.models.catalogue import create_model
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig
from taichinet.storage.digest import digest_file
from taichinet.storage.tensors import write_tensors


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_weights(tiny_network(), WeightsConfig("taichinet", {"width": 2}, size=32), tmp_path / "weights")


def change_config(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")


# -------------------------------------------------------------------------------------------------- digest


def test_digest_of_the_tensors_file_is_recorded(saved: Path) -> None:
    written = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert written["digest"] == digest_file(saved / "model.safetensors")
    assert load_weights(saved).unverified == ""


@pytest.mark.parametrize("position", [0.2, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("bit", [0, 7])
def test_single_flipped_bit_is_rejected(saved: Path, position: float, bit: int) -> None:
    file = saved / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged|cannot be read"):
        load_weights(saved)


def test_weights_of_an_earlier_version_are_loaded_and_marked(saved: Path) -> None:
    content = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    del content["digest"]
    (saved / "config.json").write_text(json.dumps(content), encoding="utf-8")
    assert "not verified" in load_weights(saved).unverified


def test_verification_of_the_shipped_weights_is_fast() -> None:
    folder = shipped_weights()
    assert load_weights(folder).unverified == ""
    tensors = load_file(folder / "model.safetensors")
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        digest_file(folder / "model.safetensors")
        assert weights_module.first_not_finite(tensors) is None
        seconds.append(time.perf_counter() - start)
    # 12 ms measured on an idle core; the bound leaves room for a machine that does other work.
    assert statistics.median(seconds) < 0.1


# --------------------------------------------------------------------------------------- list of training images


def test_training_images_are_in_a_file_of_their_own_which_is_verified(tmp_path: Path) -> None:
    lists = {"train_keys": ["benign (1)"], "validation_keys": [], "seen_images": ["0123"], "seen_pixels": ["4567"]}
    config = WeightsConfig("taichinet", {"width": 2}, size=32, provenance={"recipe": "x", **lists, "commit": None})
    folder = save_weights(tiny_network(), config, tmp_path / "weights")
    assert {file.name for file in folder.iterdir()} == set(config.files)
    file = folder / "training_images.json"
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))["provenance"]
    assert written == {"recipe": "x", "commit": None, "training_images": digest_file(file)}
    assert load_weights(folder).config.provenance == config.provenance

    change_config(folder, provenance=config.provenance)  # as written by an earlier version
    file.rename(tmp_path / file.name)
    assert load_weights(folder).config.provenance == config.provenance
    change_config(folder, provenance=written)
    with pytest.raises(WeightsError, match=r"training_images\.json cannot be read.*whole folder"):
        load_weights(folder)
    for content, message in (("{}", "was changed or belongs to other weights"), ("{", "cannot be read")):
        file.write_text(content)
        with pytest.raises(WeightsError, match=message):
            load_weights(folder)


# --------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("name", ["positive.output.weight", "positive.encoder.0.1.running_var"])
def test_non_finite_value_is_rejected_with_its_tensor_name(saved: Path, value: float, name: str) -> None:
    file = saved / "model.safetensors"
    tensors = load_file(file)
    tensors[name].view(-1)[-1] = value
    save_file(tensors, file)
    change_config(saved, digest=digest_file(file))
    with pytest.raises(WeightsError, match=rf"model\.safetensors has values that are not finite \(tensor '{name}'\)"):
        load_weights(saved)


def test_network_with_nan_is_not_saved(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="not finite"):
        save_weights(network, WeightsConfig("taichinet", {"width": 2}, size=32), tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_values_beyond_float16_are_not_saved_as_float16(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        next(network.parameters()).fill_(1e6)  # infinite in float16
    config = WeightsConfig("taichinet", {"width": 2}, size=32)
    save_weights(network, config, tmp_path / "32")
    with pytest.raises(WeightsError, match="not finite"):
        save_weights(network, config, tmp_path / "16", torch.float16)


# --------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 16384},
        {"size": 0},
        {"size": "32"},
        {"size": 1e3},
        {"threshold": float("nan")},
        {"threshold": 1.5},
        {"threshold": "0.5"},
        {"provenance": [1]},
        {"options": {"width": 100_000}},
        {"options": {"width": 256}},
        {"options": {"width": 2, "head_hidden": 10**9}},
        {"options": {"in_channels": 10**9}},
        {"options": {"num_classes": 10**9}},
    ],
    ids=str,
)
def test_configuration_out_of_range_is_rejected_before_memory_is_allocated(saved: Path, changes: Any) -> None:
    change_config(saved, **changes)
    start = time.perf_counter()
    with pytest.raises(WeightsError):
        load_weights(saved)
    assert time.perf_counter() - start < 5  # building the network of width 256 takes longer, and 5 GiB


@pytest.mark.parametrize(
    "assignment",
    [
        {"data.size": 16384},
        {"options.width": 100_000},
        {"options.negative_width": 100_000},
        {"mining.width": 100_000},
        {"training.epochs": 10**18},
        {"training.batch_size": 10**18},
        {"training.seed": 10**18},
        {"training.learning_rate": 1e30},
        {"training.learning_rate": 1e38},
        {"mining.learning_rate": 1e30},
        {"mining.seed": 10**30},
    ],
    ids=str,
)
def test_setting_out_of_range_is_rejected(assignment: dict[str, object]) -> None:
    (key,) = assignment
    with pytest.raises(SettingError, match=key.rpartition(".")[2]):
        vary(get_recipe("cpu-taichinet"), assignment)


@pytest.mark.parametrize("model", ["taichinet", "unet", "unet++", "attention-unet", "x-net", "de-resunet", "aau-net"])
def test_width_of_every_network_is_limited(model: str) -> None:
    with pytest.raises(SettingError, match="width = 100000: Input should be less than or equal to 256"):
        create_model(model, width=100_000)


# -------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("room", [0, 1000, 20_000])
def test_full_disk_keeps_the_earlier_weights_and_leaves_no_partial_file(saved: Path, room: int) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(StorageError, match=r"Cannot write .*earlier file is unchanged"):
            save_weights(tiny_network(seed=1), WeightsConfig("taichinet", {"width": 2}, size=32), saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


def test_failed_tensor_write_leaves_no_partial_file(tmp_path: Path) -> None:
    shared = torch.zeros(3)
    with pytest.raises(StorageError, match="Cannot write"):
        write_tensors(tmp_path / "x.safetensors", {"one": shared, "other": shared})
    assert list(tmp_path.iterdir()) == []


def test_damaged_headers_raise_weights_error(saved: Path, tmp_path: Path) -> None:
    content = (saved / "model.safetensors").read_bytes()
    for number, position in enumerate(range(0, 400, 7)):
        folder = tmp_path / f"damaged-{number}"
        shutil.copytree(saved, folder)
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(WeightsError):
            load_weights(folder)
