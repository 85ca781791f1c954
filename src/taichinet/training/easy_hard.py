"""Mining of the easy and hard parts of lesions with a U-Net++ (Sec. IV-C, Eq. 23-24)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor

from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.datasets.prepared import Prepared, Regions
from taichinet.errors import FoldError, WeightsError
from taichinet.losses.auxiliary import AuxiliarySettings
from taichinet.losses.objective import ObjectiveSettings
from taichinet.models.baselines.unet_plus_plus import UNetPlusPlus, UNetPlusPlusSettings
from taichinet.models.settings import MAX_WIDTH
from taichinet.settings import Settings
from taichinet.storage.atomic import write_json
from taichinet.storage.digest import digest_json, digest_tensors
from taichinet.storage.lock import locked
from taichinet.storage.tensors import write_tensors
from taichinet.training.checkpoint import CheckpointFolder, clear_checkpoints
from taichinet.training.device import DeviceConfig, choose_device_config
from taichinet.training.fit import TrainingData, fit
from taichinet.training.loop import predict_batches
from taichinet.training.settings import (
    MAX_BATCH,
    MAX_EPOCHS,
    MAX_LEARNING_RATE,
    MAX_SEED,
    TrainingSettings,
)

THRESHOLD = 0.5


class MiningSettings(Settings):
    """Settings of the U-Net++ of the mining stage.

    It is only trained on the training set of the fold, and the weights of the last epoch are used.
    """

    width: int = Field(default=32, ge=1, le=MAX_WIDTH, description="channels of the first level of the U-Net++")
    epochs: int = Field(default=40, ge=1, le=MAX_EPOCHS, description="number of epochs")
    batch_size: int = Field(default=16, ge=2, le=MAX_BATCH, description="images per optimiser step")
    accumulate: int = Field(default=1, ge=1, le=MAX_BATCH, description="as training.accumulate")
    learning_rate: float = Field(default=1e-4, gt=0, le=MAX_LEARNING_RATE, description="learning rate of Adam")
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="seed of weights, order and augmentation")


@dataclass(frozen=True)
class Provenance:
    """Provenance of mined regions: settings, resolution, images and precision of the U-Net++, and measurements.

    `images_digest` is the SHA-256 of images and masks; `keys` are those of all images that the U-Net++ was trained on.
    `placement` is `DeviceConfig.describe`, empty in caches of earlier versions.
    """

    settings: dict[str, Any]
    augmentation: dict[str, Any]
    size: int
    channels: int
    images_digest: str
    keys: tuple[str, ...]
    bf16: bool = False
    seconds: float = float("nan")
    easy_share_of_lesion: float = float("nan")
    hard_share_of_lesion: float = float("nan")
    placement: str = ""

    def identity(self) -> str:
        """Digest of all inputs that determine the regions."""
        others = ("seconds", "easy_share_of_lesion", "hard_share_of_lesion", "placement")
        known = {key: value for key, value in asdict(self).items() if key not in others}
        return digest_json(known)[:16]


@dataclass(frozen=True)
class MinedRegions:
    """Easy and hard regions of the training images, with their provenance."""

    regions: Regions
    provenance: Provenance


def split_lesion(first_level: Tensor, fourth_level: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Boolean masks E_p and H_p (Eq. 23-24) from the probabilities of the outputs 1 and 4; all of the same shape."""
    lesion = truth > THRESHOLD
    easy = (first_level > THRESHOLD) & lesion  # Eq. 23
    hard = (fourth_level > THRESHOLD) & lesion & ~easy  # Eq. 24
    return easy, hard


def mine_regions(
    train: Prepared,
    settings: MiningSettings,
    augmentation: AugmentationSettings,
    cache: Path,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    device_config: DeviceConfig | None = None,
) -> MinedRegions:
    """Mine E_p and H_p of the training images, or read them from the cache.

    An interrupted mining stage resumes automatically from the last completed epoch. If another process is mining the
    same regions, this process waits for the result.

    Args:
        train: Training images.
        settings: Settings of the mining stage.
        augmentation: Augmentation of the training images.
        cache: Folder with one subfolder per identity.
        on_epoch: Called with the history row of each completed epoch.
        device_config: Device and precision; chosen automatically if None.

    Returns:
        The regions and their provenance.

    Raises:
        WeightsError: The cached regions or a checkpoint are damaged, or a checkpoint cannot be written.
        SettingError: A loss, weight or output is not finite.
        StorageError: The regions cannot be written.
    """
    device_config = device_config or choose_device_config()
    provenance = _provenance(train, settings, augmentation, device_config)
    folder = cache / provenance.identity()
    if (folder / "provenance.json").exists():
        return _read_from_cache(folder)
    with locked(cache / f"{folder.name}.lock", wait=True) as lock:
        if (folder / "provenance.json").exists():  # while this process waited
            return _read_from_cache(folder)
        network, training = _mining_network(train, settings)
        objective = ObjectiveSettings(auxiliary=AuxiliarySettings(levels=1))  # output 1 has the weight of output 4
        data = TrainingData(train, train.subset(()), None, augmentation)
        checkpoints = CheckpointFolder(folder, provenance.identity(), resume=True, lock=lock)
        fitted = fit(network, data, objective, training, device_config, checkpoints, on_epoch)
        provenance = replace(provenance, seconds=round(sum(row["seconds"] for row in fitted.history), 1))
        mined = _predict_regions(network, train, device_config, training.micro_batch_size, provenance)
        _write_regions(mined, folder)
    return mined


def _mining_network(train: Prepared, settings: MiningSettings) -> tuple[UNetPlusPlus, TrainingSettings]:
    """The untrained U-Net++ and the settings of its training."""
    torch.manual_seed(settings.seed)
    network = UNetPlusPlus(
        UNetPlusPlusSettings(in_channels=train.image.shape[1], num_classes=train.lesion.shape[1], width=settings.width)
    )
    training = TrainingSettings(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        accumulate=settings.accumulate,
        learning_rate=settings.learning_rate,
        strategy="plain",
        selection="last",
        seed=settings.seed,
    )
    return network, training


def _predict_regions(
    network: UNetPlusPlus, train: Prepared, device_config: DeviceConfig, batch_size: int, provenance: Provenance
) -> MinedRegions:
    easy, hard = [], []
    batches = list(train.batches(batch_size))
    for batch, prediction in zip(batches, predict_batches(network, batches, device_config), strict=True):
        coarse, *_, fine = (torch.sigmoid(level) for level in prediction.levels)
        parts = split_lesion(coarse, fine, batch.lesion)
        easy.append(parts[0].to(torch.uint8))
        hard.append(parts[1].to(torch.uint8))
    # With several regions, the network output has the memory layout of the network.
    regions = Regions(train.keys, torch.cat(easy).contiguous(), torch.cat(hard).contiguous())
    lesion_pixels = max(int(train.lesion.sum()), 1)
    measured = replace(
        provenance,
        easy_share_of_lesion=int(regions.easy.sum()) / lesion_pixels,
        hard_share_of_lesion=int(regions.hard.sum()) / lesion_pixels,
    )
    return MinedRegions(regions, measured)


def _write_regions(mined: MinedRegions, folder: Path) -> None:
    tensors = {"easy": mined.regions.easy, "hard": mined.regions.hard}
    write_tensors(folder / "regions.safetensors", tensors)
    # The provenance is written last: if it exists, the regions are complete.
    write_json(folder / "provenance.json", {**asdict(mined.provenance), "regions_digest": digest_tensors(tensors)})
    clear_checkpoints(folder)


def read_regions(folder: Path) -> MinedRegions:
    """Read regions and provenance from a cache folder.

    Raises:
        WeightsError: A file is missing or damaged, or the digest of the regions does not match. Caches of earlier
            versions have no digest and are read without this check.
    """
    try:
        raw = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        recorded = raw.pop("regions_digest", None)
        provenance = Provenance(**{**raw, "keys": tuple(raw["keys"])})
        tensors = load_file(folder / "regions.safetensors")
        if recorded not in (None, digest_tensors(tensors)):
            raise ValueError("regions.safetensors has another digest than provenance.json records")
        easy, hard = tensors["easy"], tensors["hard"]
        if easy.shape != hard.shape or len(easy) != len(provenance.keys) or bool((easy + hard > 1).any()):
            raise ValueError("the easy and hard pixels do not fit the images, or overlap")
    except Exception as error:  # safetensors raises its own undocumented types
        raise WeightsError(
            f"The easy and hard pixels in {folder} cannot be read ({error}). Delete that folder."
        ) from error
    return MinedRegions(Regions(provenance.keys, easy, hard), provenance)


def _read_from_cache(folder: Path) -> MinedRegions:
    """`read_regions`, with a check that the name of the folder is the identity of the provenance."""
    mined = read_regions(folder)
    if mined.provenance.identity() != folder.name:
        raise WeightsError(
            f"The easy and hard pixels in {folder} cannot be read (provenance.json describes others). Delete that "
            "folder."
        )
    return mined


def refuse_leakage(provenance: Provenance, held_out: Iterable[str]) -> None:
    """Raise FoldError if a validation or test image was used for mining."""
    leaked = sorted(set(provenance.keys) & set(held_out))
    if leaked:
        raise FoldError(
            f"{len(leaked)} held-out images were used in mining the easy and hard pixels "
            f"({', '.join(leaked[:3])}{', ...' if len(leaked) > 3 else ''}), which would bias the scores. Mine again "
            "on the training set of this fold."
        )


def _provenance(
    train: Prepared, settings: MiningSettings, augmentation: AugmentationSettings, device_config: DeviceConfig
) -> Provenance:
    pixels = hashlib.sha256(train.image.numpy().tobytes())
    pixels.update(train.lesion.numpy().tobytes())
    # Excluded so that regions mined by versions without gradient accumulation have the same identity.
    left_out = {"accumulate"} if settings.accumulate == 1 else set()
    return Provenance(
        settings=settings.model_dump(mode="json", exclude=left_out),
        augmentation=augmentation.settings_in_use(),
        size=train.image.shape[-1],
        channels=train.image.shape[1],
        images_digest=pixels.hexdigest(),
        keys=train.keys,
        bf16=device_config.bf16,
        placement=device_config.describe(),
    )
