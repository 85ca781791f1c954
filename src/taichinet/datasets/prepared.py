"""A whole data set at network size in memory, and batches drawn from it: BUSI at 224 px is 80 MB."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL import __version__ as pillow_version
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from taichinet.batch import Batch
from taichinet.datasets.image_io import read_grey, read_rgb, region_masks
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError
from taichinet.storage.tensors import write_tensors

RECIPE = 2  # raise when the same files give other pixels, so that old cache entries are not read

MOSTLY_PAINTED = 0.75  # mean share of the images that masks cover; above it they are probably inverted


@dataclass(frozen=True)
class Regions:
    """Easy and hard parts E_p and H_p of the lesions of `keys`, each uint8 (N, R, S, S)."""

    keys: tuple[str, ...]
    easy: Tensor
    hard: Tensor


@dataclass(frozen=True)
class TeacherProbabilities:
    """What a teacher says of the images of `keys`: its lesion probability in 255ths, uint8 (N, R, S, S)."""

    keys: tuple[str, ...]
    probability: Tensor


@dataclass(frozen=True)
class Prepared:
    """Images uint8 (N, C, S, S) and masks of the R regions uint8 (N, R, S, S), in the order of `keys`."""

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    image: Tensor
    lesion: Tensor

    def subset(self, keys: Sequence[str]) -> Prepared:
        """The samples of `keys`, in that order; KeyError-free because fold files are verified beforehand."""
        index = {key: i for i, key in enumerate(self.keys)}
        rows = [index[key] for key in keys]
        return Prepared(tuple(keys), tuple(self.labels[row] for row in rows), self.image[rows], self.lesion[rows])

    def batch(
        self, rows: Tensor, regions: Regions | None = None, teacher_probability: TeacherProbabilities | None = None
    ) -> Batch:
        """The samples of `rows` as floats; regions and probabilities must have the same keys in the same order."""
        if regions is not None and regions.keys != self.keys:
            raise DataError("Easy and hard regions belong to other images than the batch. Mine them for this fold.")
        if teacher_probability is not None and teacher_probability.keys != self.keys:
            raise DataError("The teacher's answers belong to other images than the batch. Ask it about these.")
        return Batch(
            image=self.image[rows].float() / 255,
            lesion=self.lesion[rows].float(),
            easy=None if regions is None else regions.easy[rows].float(),
            hard=None if regions is None else regions.hard[rows].float(),
            teacher_probability=None
            if teacher_probability is None
            else teacher_probability.probability[rows].float() / 255,
        )

    def batches(
        self,
        batch_size: int,
        shuffle: torch.Generator | None = None,
        regions: Regions | None = None,
        teacher_probability: TeacherProbabilities | None = None,
    ) -> Iterator[Batch]:
        """All samples once; in order, or shuffled by a generator.

        A last batch of a single image is merged into the one before where batches are shuffled (training):
        BatchNorm has no variance of one.
        """
        count = len(self.keys)
        order = torch.arange(count) if shuffle is None else torch.randperm(count, generator=shuffle)
        chunks = list(torch.split(order, batch_size))
        if shuffle is not None and len(chunks) > 1 and len(chunks[-1]) == 1:
            chunks[-2:] = [torch.cat(chunks[-2:])]
        for rows in chunks:
            yield self.batch(rows, regions, teacher_probability)


def prepare(manifest: Manifest, size: int, channels: int, cache: Path | None = None) -> Prepared:
    """Decode and resize every sample to size x size (image: antialiased bilinear; mask: nearest).

    `channels` is 1 (grey) or 3 (RGB). With `cache`, a folder, the pixels are read from it where exactly these files
    were prepared in this way before, else written there. The entry's name is a digest of every image and mask byte
    and of the settings, so it is never stale; it appears whole or not at all, so that several processes may share the
    folder. Raises DataError naming every file that cannot be read, all at once.
    """
    if cache is None:
        return _decode(manifest, size, channels)
    entry = cache / f"{_identity(manifest, size, channels)}.safetensors"
    kept = _read_entry(entry)
    if kept is not None:
        _warn_if_inverted(manifest, kept["lesion"])
        return Prepared(manifest.keys, tuple(sample.label for sample in manifest), kept["image"], kept["lesion"])
    prepared = _decode(manifest, size, channels)
    write_tensors(entry, {"image": prepared.image.contiguous(), "lesion": prepared.lesion.contiguous()})
    return prepared


def _identity(manifest: Manifest, size: int, channels: int) -> str:
    content = [RECIPE, pillow_version, size, channels, manifest.content_digest()]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]


def _read_entry(entry: Path) -> dict[str, Tensor] | None:
    """The tensors of a cache entry; None where there is none, or a torn one that must be made again."""
    if not entry.is_file():
        return None
    try:
        return load_file(entry)
    except (OSError, ValueError, SafetensorError):
        return None


def _decode(manifest: Manifest, size: int, channels: int) -> Prepared:
    problems: list[str] = []

    def one(sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            pixels = read_grey(sample.image) if channels == 1 else read_rgb(sample.image)
            masks = region_masks(sample, len(manifest.regions))
        except DataError as error:
            problems.append(str(error))
            return None
        return resize_image(pixels, size), np.stack([resize_mask(mask, size) for mask in masks])

    with ThreadPoolExecutor(max_workers=2) as pool:
        decoded = list(pool.map(one, manifest.samples))
    if problems:
        raise DataError(f"{len(problems)} files of {manifest.name} cannot be read. Mend or remove them:", problems)
    pairs = [pair for pair in decoded if pair is not None]
    image = torch.from_numpy(np.stack([pixels for pixels, _ in pairs]))
    image = image[:, None] if channels == 1 else image.permute(0, 3, 1, 2).contiguous()
    lesion = torch.from_numpy(np.stack([masks for _, masks in pairs]))
    _warn_if_inverted(manifest, lesion)
    return Prepared(manifest.keys, tuple(s.label for s in manifest.samples), image, lesion)


def _warn_if_inverted(manifest: Manifest, lesion: Tensor) -> None:
    share = float(lesion[:, 0].float().mean())
    if share > MOSTLY_PAINTED:
        warnings.warn(
            f"The masks of {manifest.name} cover {share:.0%} of the images: lesion and background may be exchanged. "
            "255 must be the lesion, 0 the background; see `taichinet data check`.",
            stacklevel=3,
        )


def count_empty_masks(manifest: Manifest) -> int:
    """How many images have no painted pixel in any region; every mask is decoded."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        painted = pool.map(lambda sample: bool(region_masks(sample, len(manifest.regions)).any()), manifest.samples)
        return sum(not one for one in painted)


def grey_images(manifest: Manifest) -> Mapping[str, np.ndarray]:
    """Every image of the data set as uint8 (H, W) at native size."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        decoded = pool.map(lambda sample: read_grey(sample.image), manifest.samples)
        return dict(zip(manifest.keys, decoded, strict=True))


def resize_image(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) -> the same at size x size."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """bool (H, W) -> uint8 0 or 1 (size, size), nearest neighbour."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))
