"""Small data and small trainings that several test files share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings, draw_transforms
from taichinet.datasets.manifest import Manifest, Mask, Sample
from taichinet.datasets.prepared import Prepared, Regions
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.losses.objective import ObjectiveSettings
from taichinet.models.catalogue import create_model
from taichinet.training.checkpoint import CheckpointFolder
from taichinet.training.device import DeviceConfig
from taichinet.training.fit import FitResult, TrainingData, fit
from taichinet.training.settings import TrainingSettings

# The narrowest options of each network; networks with ImageNet backbones have a fixed width.
NARROW: dict[str, dict[str, Any]] = {
    "taichinet": {"width": 4},
    "unet": {"width": 4},
    "unet++": {"width": 4},
    "attention-unet": {"width": 4},
    "x-net": {"width": 4},
    "de-resunet": {"width": 8},
    "aau-net": {"width": 4},
    "unet-lite": {"decoder_width": 4},
    "taichinet-lite": {"decoder_width": 4},
    "unet-timm": {"encoder": "test_efficientnet", "decoder_width": 4},
    "taichinet-timm": {"encoder": "test_convnext", "decoder_width": 4},
}
FLOAT32_CPU = DeviceConfig(torch.device("cpu"), bf16=False, memory_format=torch.channels_last)

TINY = vary(
    get_recipe("demo-taichinet"),
    {
        "options.width": 2,
        "data.size": 32,
        "data.folds": 2,
        "data.validation_share": 0.5,
        "training.epochs": 3,
        "training.batch_size": 4,
        "training.precision": "float32",
        "mining.width": 2,
        "mining.epochs": 1,
        "mining.batch_size": 4,
    },
)
"""A recipe whose folds train in about a second."""


def discs(count: int, size: int = 32, seed: int = 0, channels: int = 1, name: str = "disc") -> Prepared:
    """`count` images of a dark disc on noisy grey, with alternating labels benign and malignant."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    images, masks = [], []
    for _ in range(count):
        centre = rng.uniform(0.35 * size, 0.65 * size, 2)
        mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= rng.uniform(0.15, 0.3) ** 2 * size**2
        grey = np.clip(np.where(mask, 60, 150) + rng.normal(0, 15, mask.shape), 0, 255).astype(np.uint8)
        images.append(np.repeat(grey[None], channels, axis=0))
        masks.append(mask[None].astype(np.uint8))
    return Prepared(
        keys=tuple(f"{name} ({i})" for i in range(1, count + 1)),
        labels=tuple("benign" if i % 2 else "malignant" for i in range(1, count + 1)),
        image=torch.from_numpy(np.stack(images)),
        lesion=torch.from_numpy(np.stack(masks)),
    )


def halves(data: Prepared) -> Regions:
    """Regions without mining: the upper half of the lesion is easy, the lower half hard."""
    upper = torch.zeros_like(data.lesion)
    upper[:, :, : data.lesion.shape[-1] // 2] = 1
    return Regions(data.keys, data.lesion * upper, data.lesion * (1 - upper))


def augmented(batch: Batch, settings: AugmentationSettings, generator: torch.Generator) -> Batch:
    """One batch with its own random transformations."""
    (transforms,) = draw_transforms([len(batch.image)], settings, generator, batch.image.device)
    return transforms.apply(batch)


def tiny_data(validation: int = 3) -> TrainingData:
    """Seven training images with regions and three other images for validation."""
    train = discs(7)
    return TrainingData(train, discs(validation, seed=1, name="other"), halves(train), AugmentationSettings())


def tiny_network(model: str = "taichinet", seed: int = 0, **options: object) -> nn.Module:
    """A network of width 2 whose weights depend on `seed` only."""
    torch.manual_seed(seed)
    return create_model(model, **{"width": 2, **options})


def train_tiny(
    folder: Path,
    settings: TrainingSettings,
    data: TrainingData | None = None,
    network: nn.Module | None = None,
    resume: bool = False,
    identity: str = "tiny",
    on_epoch: Any = lambda row: None,
) -> tuple[nn.Module, FitResult]:
    """Train a tiny network; return it and the result of `fit`."""
    network = network or tiny_network()
    data = data or tiny_data()
    checkpoints = CheckpointFolder(folder, identity, resume)
    result = fit(network, data, ObjectiveSettings(), settings, FLOAT32_CPU, checkpoints, on_epoch)
    return network, result


def tiny_settings(**changes: object) -> TrainingSettings:
    """Four epochs of batches of three: one easy, three hard, in float32."""
    return TrainingSettings.model_validate(
        {"epochs": 4, "batch_size": 3, "learning_rate": 3e-3, "precision": "float32", **changes}
    )


@contextmanager
def default_interrupt() -> Iterator[None]:
    """Let child processes receive Ctrl-C, even if the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child process inherits an ignored signal
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def same_weights(first_network: nn.Module, second_network: nn.Module) -> bool:
    """Whether all parameters and running statistics are identical bit for bit."""
    first, second = first_network.state_dict(), second_network.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def file_manifest(folder: Path, labels: dict[str, str], salt: str = "") -> Manifest:
    """A manifest whose images are small files of distinct bytes, for tests that decode no image."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for key, label in labels.items():
        path = folder / f"{key}.png"
        path.write_bytes(f"{salt}{key}".encode())
        samples.append(Sample(key, label, path, (Mask(path),)))
    return Manifest("files", tuple(samples))
