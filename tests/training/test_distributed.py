"""Training with two processes under torchrun equals training with one process: losses, weights and statistics.

In float64 the two agree to rounding (measured 1e-15, required 1e-12); in float32 at the learning rate of the paper,
the relative difference of the losses is 2e-7 (required 1e-5). Weights are compared only in float64: the first step of
Adam is the learning rate times the sign of the gradient, and the gradient of a bias before a BatchNorm is rounding.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import FLOAT32_CPU, discs, tiny_data, tiny_network, tiny_settings
from torch import nn

from taichinet.errors import SettingError
from taichinet.losses.objective import ObjectiveSettings
from taichinet.training.checkpoint import CheckpointFolder
from taichinet.training.distributed.cross_rank_norm import CrossRankBatchNorm, norms_across
from taichinet.training.distributed.ranks import Ranks, current_ranks
from taichinet.training.fit import epoch_batches, fit
from training import two_ranks

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
SCRIPT = Path(two_ranks.__file__)


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run a script or `-m module` with arguments in several processes with one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([str(argument) for argument in command], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def rank_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Results of the two processes; only those of rank 0 include the trainings."""
    folder = tmp_path_factory.mktemp("two")
    process = torchrun(SCRIPT, folder)
    assert process.returncode == 0, process.stderr
    return [torch.load(folder / f"results-{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def main_results(rank_results: list[dict[str, Any]]) -> dict[str, Any]:
    return rank_results[0]


def assert_equal_training(distributed: dict[str, Any], expected: dict[str, Any]) -> None:
    torch.testing.assert_close(distributed["losses"], expected["losses"], **EXACT)
    assert distributed["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        torch.testing.assert_close(distributed["weights"][name], value, rtol=1e-6, atol=1e-7)


# ----------------------------------------------------------------------------------------------- trainings


@pytest.mark.parametrize("name", ["taichinet", "accumulated", "attention-unet", "stopped", "timm"])
def test_two_processes_have_same_losses_and_weights_as_one(
    main_results: dict[str, Any], tmp_path: Path, name: str
) -> None:
    assert_equal_training(main_results[name], two_ranks.train(name, tmp_path, Ranks()))


def test_all_processes_stop_early_together(main_results: dict[str, Any]) -> None:
    assert 2 < len(main_results["stopped"]["losses"]) < 8


def test_two_processes_have_same_losses_as_one_in_float32(main_results: dict[str, Any], tmp_path: Path) -> None:
    alone = two_ranks.train("float32", tmp_path, Ranks())
    assert main_results["float32"]["losses"] == pytest.approx(alone["losses"], rel=1e-5)


def test_two_processes_resume_as_one(main_results: dict[str, Any], tmp_path: Path) -> None:
    two_ranks.train("taichinet", tmp_path, Ranks())
    alone = two_ranks.train("taichinet", tmp_path, Ranks(), resume=True, epochs=3)
    assert len(alone["losses"]) == 3
    assert_equal_training(main_results["resumed"], alone)


def test_too_many_processes_for_batch_are_rejected(tmp_path: Path) -> None:
    device_config = replace(FLOAT32_CPU, ranks=Ranks(0, 2))
    checkpoints = CheckpointFolder(tmp_path, "tiny")
    with pytest.raises(SettingError, match=r"batch of 3 .*two images.*2 processes.*batch_size to 4"):
        fit(tiny_network(), tiny_data(), ObjectiveSettings(), tiny_settings(), device_config, checkpoints)


# ------------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize(("images", "size"), [(16, 2), (7, 3), (3, 2), (2, 4), (5, 4)])
def test_shares_of_all_ranks_form_the_batch_in_order(images: int, size: int) -> None:
    batch = discs(images).batch(torch.arange(images))
    shares = [Ranks(rank, size).share(batch) for rank in range(size)]
    assert all(len(share.batch.image) >= 2 for share in shares)
    counted = [share.batch for share in shares if not share.is_padding]
    assert torch.equal(torch.cat([part.image for part in counted]), batch.image)
    assert torch.equal(torch.cat([part.lesion for part in counted]), batch.lesion)
    assert sum(share.images for share in shares) == images
    sizes = [len(part.image) for part in counted]
    assert max(sizes) - min(sizes) <= 1


def test_ranks_have_same_batches_and_different_dropout() -> None:
    drawn = []
    for rank in (0, 1):
        batches = [batch.image for batch in epoch_batches(tiny_data(), tiny_settings(), 0, rank)]
        drawn.append((torch.cat(batches), torch.rand(8)))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][1], drawn[1][1])


def test_single_process_keeps_batch_norms_of_torch() -> None:
    assert current_ranks() == Ranks(0, 1)
    network = tiny_network()
    before = list(network.modules())
    with norms_across(network, Ranks()):
        assert list(network.modules()) == before


# -------------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize(("dimensions", "momentum"), [(4, 0.1), (2, 0.1), (4, None)])
def test_batchnorm_over_two_processes_equals_torch_over_joined_batch(
    rank_results: list[dict[str, Any]], dimensions: int, momentum: float | None
) -> None:
    first, second = (of_rank[f"norm-{dimensions}-{momentum}"] for of_rank in rank_results)
    layer = two_ranks.new_norm(dimensions, momentum)
    values, weights = two_ranks.joined_batch(dimensions)
    for _ in range(2):
        layer.zero_grad()
        output, gradient = two_ranks.normalise(layer, values, weights)
    torch.testing.assert_close(torch.cat([first["outputs"], second["outputs"]]), output, rtol=1e-5, atol=1e-4)
    joined = torch.cat([first["input-gradients"], second["input-gradients"]])
    torch.testing.assert_close(joined, gradient, rtol=1e-4, atol=1e-3)
    for name, weight in layer.named_parameters():
        torch.testing.assert_close(first[f"{name}-gradient"], weight.grad, rtol=1e-4, atol=1e-3)
    two_ranks.normalise(layer, values, weights)  # the pass in which rank 1 has only padding
    for name, statistic in layer.named_buffers():
        torch.testing.assert_close(first[name], statistic, rtol=1e-5, atol=1e-5)
        assert torch.equal(first[name], second[name])


def test_batch_norms_are_replaced_during_training_and_restored_after() -> None:
    shared = nn.BatchNorm2d(2)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), shared, nn.Sequential(nn.BatchNorm2d(2)), shared)
    weights = network.state_dict(keep_vars=True)
    with norms_across(network, Ranks(0, 2)):
        assert [type(network[i]) for i in (1, 3)] == [CrossRankBatchNorm] * 2
        assert network[1] is network[3]
        inside = network.state_dict(keep_vars=True)
        assert inside.keys() == weights.keys()
        assert all(inside[name] is weights[name] for name in weights)
        values = torch.randn(3, 1, 4, 4)
        output = network.eval()(values)  # no exchange in evaluation mode
    assert network[1] is shared
    assert not network[1].training
    assert torch.equal(network(values), output)
