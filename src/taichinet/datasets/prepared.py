"""A whole data set at the input resolution in memory, and batches of it: BUSI at 224 px needs 80 MB."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from taichinet.batch import Batch
from taichinet.datasets.decoded import DECODING_THREADS
from taichinet.datasets.image_io import RECIPE, resize_mask
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError
from taichinet.progress import tracked
from taichinet.storage.tensors import write_tensors

MOSTLY_LESION = 0.75  # mean share of the images that masks cover; above it they are probably inverted


@dataclass(frozen=True)
class Regions:
    """Easy and hard parts E_p and H_p of the lesions of `keys`, each uint8 (N, R, S, S)."""

    keys: tuple[str, ...]
    easy: Tensor
    hard: Tensor

    def to(self, device: torch.device) -> Regions:
        """The same regions on `device`."""
        return Regions(self.keys, self.easy.to(device), self.hard.to(device))


@dataclass(frozen=True)
class TeacherProbabilities:
    """The lesion probability that a teacher predicts for the images of `keys`, in 255ths, uint8 (N, R, S, S)."""

    keys: tuple[str, ...]
    probability: Tensor

    def to(self, device: torch.device) -> TeacherProbabilities:
        """The same probabilities on `device`."""
        return TeacherProbabilities(self.keys, self.probability.to(device))


@dataclass(frozen=True)
class Prepared:
    """Images uint8 (N, C, S, S) and masks of the R regions uint8 (N, R, S, S), in the order of `keys`."""

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    image: Tensor
    lesion: Tensor

    def subset(self, keys: Sequence[str]) -> Prepared:
        """The samples of `keys`, in that order; all must be present."""
        index = {key: i for i, key in enumerate(self.keys)}
        rows = [index[key] for key in keys]
        return Prepared(tuple(keys), tuple(self.labels[row] for row in rows), self.image[rows], self.lesion[rows])

    def to(self, device: torch.device) -> Prepared:
        """The same images and masks on `device`; they remain uint8, and `batch` converts them there."""
        return Prepared(self.keys, self.labels, self.image.to(device), self.lesion.to(device))

    def batch(
        self, rows: Tensor, regions: Regions | None = None, teacher_probability: TeacherProbabilities | None = None
    ) -> Batch:
        """A batch as floats.

        Args:
            rows: Numbers of the samples, on the device of the images.
            regions: Easy and hard regions of the same keys in the same order.
            teacher_probability: Probabilities of the same keys in the same order.

        Raises:
            DataError: The regions or probabilities belong to other images.
        """
        if regions is not None and regions.keys != self.keys:
            raise DataError("Easy and hard pixels belong to other images than the batch. Mine them for this fold.")
        if teacher_probability is not None and teacher_probability.keys != self.keys:
            raise DataError("The teacher's predictions belong to other images than the batch. Predict these with it.")
        return Batch(
            image=self.image[rows].float() / 255,
            lesion=self.lesion[rows].float(),
            easy=None if regions is None else regions.easy[rows].float(),
            hard=None if regions is None else regions.hard[rows].float(),
            teacher_probability=None
            if teacher_probability is None
            else teacher_probability.probability[rows].float() / 255,
        )

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All samples once, in order."""
        for rows in torch.arange(len(self.keys), device=self.image.device).split(batch_size):
            yield self.batch(rows)

    def shuffled_rows(
        self, batch_size: int, generator: torch.Generator, sources: Sequence[int] | None = None
    ) -> list[Tensor]:
        """The numbers of the samples of each batch of an epoch, on the device of the images.

        Args:
            batch_size: Images per batch. A last batch of a single image is merged with the one before, since BatchNorm
                has no variance of one value.
            generator: Generator on the CPU, so that the order is the same for all devices.
            sources: Number of the data set of each sample, to draw each data set equally often; None to draw each
                sample once.
        """
        count = len(self.keys)
        order = torch.randperm(count, generator=generator) if sources is None else draw_equally(sources, generator)
        batches = list(order.to(self.image.device).split(batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches


def draw_equally(sources: Sequence[int], generator: torch.Generator) -> Tensor:
    """The samples of an epoch in which each data set occurs equally often, in random order.

    The epoch has as many samples as there are, so those of large data sets are left out in turn and those of small ones
    occur several times. A sample occurs at most once more than any other of its data set.

    Args:
        sources: Number of the data set of each sample.
        generator: Generator on the CPU.

    Returns:
        Numbers of samples, (N,) int64.
    """
    source_of = torch.tensor(sources)
    datasets = source_of.unique()
    share, rest = divmod(len(source_of), len(datasets))
    drawn = []
    # The data sets that get the rest change from epoch to epoch.
    for place, dataset in enumerate(datasets[torch.randperm(len(datasets), generator=generator)]):
        members, wanted = (source_of == dataset).nonzero()[:, 0], share + (place < rest)
        orders = [torch.randperm(len(members), generator=generator) for _ in range(-(-wanted // len(members)))]
        drawn.append(members[torch.cat(orders)[:wanted]])
    rows = torch.cat(drawn)
    return rows[torch.randperm(len(rows), generator=generator)]


def prepare(manifest: Manifest, size: int, channels: int, cache: Path | None = None) -> Prepared:
    """Resize every sample of a data set to the input resolution (image: antialiased bilinear; mask: nearest).

    Args:
        manifest: The data set. Files are decoded unless `manifest.files` has kept them at this size.
        size: Input resolution S in pixels.
        channels: 1 (grey) or 3 (RGB).
        cache: Folder of earlier results. The name of an entry is a digest of all image and mask files and of the
            settings, so it is never outdated; it is written atomically, so several processes may share the folder.

    Returns:
        The resized samples.

    Raises:
        DataError: Files cannot be read. All of them are named. Or the data set is a bundle with another size.
    """
    manifest.files.refuse_other_input(size, channels)
    entry = None if cache is None else cache / f"{_identity(manifest, size, channels)}.safetensors"
    earlier = None if entry is None else _read_entry(entry)
    labels = tuple(sample.label for sample in manifest)
    if earlier is not None:
        manifest.files.forget_resized()
        prepared = Prepared(manifest.keys, labels, earlier["image"], earlier["lesion"])
    else:
        image, lesion = _resize(manifest, size, channels)
        prepared = Prepared(manifest.keys, labels, image, lesion)
        if entry is not None:
            write_tensors(entry, {"image": image.contiguous(), "lesion": lesion.contiguous()})
    _warn_if_inverted(manifest, prepared.lesion)
    return prepared


def _identity(manifest: Manifest, size: int, channels: int) -> str:
    content = [RECIPE, manifest.files.pillow, size, channels, manifest.content_digest()]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]


def _read_entry(entry: Path) -> dict[str, Tensor] | None:
    """The tensors of a cache entry; None if it is missing or damaged."""
    if not entry.is_file():
        return None
    try:
        return load_file(entry)
    except (OSError, ValueError, SafetensorError):
        return None


def _resize(manifest: Manifest, size: int, channels: int) -> tuple[Tensor, Tensor]:
    problems: list[str] = []

    def resize(sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            pixels = manifest.files.take_resized(sample.image, size, channels)
            masks = manifest.region_masks(sample)
        except DataError as error:
            problems.append(str(error))
            return None
        return pixels, np.stack([resize_mask(mask, size) for mask in masks])

    with ThreadPoolExecutor(max_workers=DECODING_THREADS) as pool:
        resized = list(tracked(pool.map(resize, manifest.samples), "resizing images", len(manifest.samples)))
    if problems:
        raise DataError(f"{len(problems)} files of {manifest.name} cannot be read. Repair or remove them:", problems)
    pairs = [pair for pair in resized if pair is not None]
    image = torch.from_numpy(np.stack([pixels for pixels, _ in pairs]))
    image = image[:, None] if channels == 1 else image.permute(0, 3, 1, 2).contiguous()
    return image, torch.from_numpy(np.stack([masks for _, masks in pairs]))


def _warn_if_inverted(manifest: Manifest, lesion: Tensor) -> None:
    share = float(lesion[:, 0].float().mean())
    if share > MOSTLY_LESION:
        warnings.warn(
            f"The masks of {manifest.name} cover {share:.0%} of the images: lesion and background may be swapped. "
            "255 must be the lesion, 0 the background; see `taichinet data check`.",
            stacklevel=3,
        )


def count_empty_masks(manifest: Manifest) -> int:
    """Count the images without a foreground pixel in any region.

    Args:
        manifest: The data set. Masks are decoded unless `manifest.files` has kept them.

    Returns:
        The number of images.

    Raises:
        DataError: A mask cannot be read.
    """
    with ThreadPoolExecutor(max_workers=DECODING_THREADS) as pool:
        has_lesion = pool.map(lambda sample: bool(manifest.region_masks(sample).any()), manifest.samples)
        return sum(not lesion for lesion in tracked(has_lesion, "reading masks", len(manifest.samples)))
