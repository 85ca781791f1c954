"""One of several processes of a tiny training, started by torchrun with an output folder.

Each process writes its results to this folder as a torch file; see test_distributed.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import FLOAT32_CPU, discs, halves, tiny_data, tiny_network, tiny_settings

from taichinet.losses.objective import ObjectiveSettings
from taichinet.models.catalogue import create_model
from taichinet.training.checkpoint import CheckpointFolder
from taichinet.training.distributed.cross_rank_norm import CrossRankBatchNorm
from taichinet.training.distributed.following import follow
from taichinet.training.distributed.ranks import Ranks, process_group
from taichinet.training.fit import TrainingData, fit

NORM_BATCH, NORM_CHANNELS = 7, 3
TRAININGS: dict[str, dict[str, Any]] = {
    "taichinet": {"batch_size": 5},  # 7 images: batches of 5 (shares of 3 and 2) and 2 (shares of 2 and 0)
    "accumulated": {"batch_size": 8, "accumulate": 2},  # 10 images: micro-batches of 4 and 4, then of 2
    "attention-unet": {"batch_size": 4},
    "stopped": {"batch_size": 4, "epochs": 8, "patience": 2, "strategy": "plain", "learning_rate": 1e-9},
    "timm": {"batch_size": 4, "strategy": "plain"},  # its BatchNorm includes the activation
    "float32": {"batch_size": 4, "learning_rate": 1e-4},  # the rate of the paper
}


@contextmanager
def everything_in_float64() -> Iterator[None]:
    """Compute in float64, in which differences between trainings show wrong formulas and not rounding."""
    to_float = Tensor.float
    torch.set_default_dtype(torch.float64)
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        Tensor.float = to_float  # type: ignore[method-assign]


def training_data(name: str) -> TrainingData:
    """Seven or ten discs for training and three others for validation."""
    if name != "accumulated":
        return tiny_data()
    train = discs(10)
    return replace(tiny_data(), train=train, regions=halves(train))


def train_on(name: str, folder: Path, ranks: Ranks, resume: bool = False, **changes: Any) -> dict[str, Any]:
    """Losses, weights and running statistics of two epochs: an easy and a hard one."""
    changes = {"epochs": 2, "easy_share": 0.5, "learning_rate": 1e-3, "selection": "last", **TRAININGS[name], **changes}
    network = tiny_network("attention-unet" if name == "attention-unet" else "taichinet")
    if name == "timm":
        torch.manual_seed(0)
        network = create_model("unet-timm", encoder="test_efficientnet", decoder_width=2)
    keys = list(network.state_dict())
    device_config = replace(FLOAT32_CPU, ranks=ranks)
    settings = tiny_settings(**changes)
    checkpoints = CheckpointFolder(folder / name, name, resume)
    result = fit(network, training_data(name), ObjectiveSettings(), settings, device_config, checkpoints)
    assert not any(isinstance(layer, CrossRankBatchNorm) for layer in network.modules())
    assert list(network.state_dict()) == keys
    return {"losses": [row["loss"] for row in result.history], "weights": network.state_dict()}


def train(name: str, *arguments: Any, **changes: Any) -> dict[str, Any]:
    """Run `train_on` in float64, except for the training "float32"."""
    with nullcontext() if name == "float32" else everything_in_float64():
        return train_on(name, *arguments, **changes)


def joined_batch(dimensions: int) -> tuple[Tensor, Tensor]:
    """Values far from zero, for which a difference of squares is inaccurate, and their weights in the loss."""
    generator = torch.Generator().manual_seed(3)
    shape = (NORM_BATCH, NORM_CHANNELS, *[5, 4][: dimensions - 2])
    return 100 + torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def new_norm(dimensions: int, momentum: float | None) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """A BatchNorm with other weights than the initial ones."""
    layer = (nn.BatchNorm2d if dimensions == 4 else nn.BatchNorm1d)(NORM_CHANNELS, momentum=momentum)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        layer.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    return layer


def gradient_of(values: Tensor) -> Tensor:
    assert values.grad is not None
    return values.grad


def normalise(layer: nn.Module, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Output and gradient of the values for a loss in which each value has its own weight."""
    values = values.clone().requires_grad_()
    output = layer(values)
    (output.square() * weights).sum().backward()
    return output.detach(), gradient_of(values)


def norm_across(ranks: Ranks, dimensions: int, momentum: float | None) -> dict[str, Tensor]:
    """Two passes with five of seven images on rank 0, then one pass in which rank 1 has only padding."""
    layer = new_norm(dimensions, momentum)
    across = CrossRankBatchNorm(layer, ranks)
    values, weights = joined_batch(dimensions)
    rows = slice(0, 5) if ranks.is_main_process else slice(5, NORM_BATCH)
    for _ in range(2):
        across.zero_grad()
        output, gradient = normalise(across, values[rows], weights[rows])
    results = {f"{name}-gradient": ranks.add(gradient_of(weight).clone()) for name, weight in layer.named_parameters()}
    results |= {"outputs": output, "input-gradients": gradient}
    across.is_padding = not ranks.is_main_process
    normalise(across, values, weights if ranks.is_main_process else 0 * weights)
    return results | layer.state_dict()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")) as ranks:
        results: dict[str, Any] = {}
        for dimensions, momentum in ((4, 0.1), (2, 0.1), (4, None)):
            results[f"norm-{dimensions}-{momentum}"] = norm_across(ranks, dimensions, momentum)
        if ranks.is_main_process:
            for name in ("taichinet", "accumulated", "attention-unet", "stopped", "timm"):
                results[name] = train(name, folder, ranks)
            results["resumed"] = train("taichinet", folder, ranks, resume=True, epochs=3)
            ranks.broadcast(None)
            results["float32"] = train("float32", folder, ranks)
            ranks.broadcast(None)
        else:
            with everything_in_float64():
                follow(ranks)
            follow(ranks)
        torch.save(results, folder / f"results-{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
