"""Compare masks and run times of runtimes and exported files with those of plain PyTorch, on real images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.decoded import united_mask
from taichinet.datasets.duplicates.known_images import ImageDigests, check_leaks
from taichinet.datasets.image_io import read_grey, read_rgb
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError
from taichinet.evaluation.metrics import score_mask
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.parity import Parity
from taichinet.inference.runtimes.runtime import Segment
from taichinet.models.weights_folder import WeightsConfig
from taichinet.progress import tracked

MAX_CALIBRATION_IMAGES = 64
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Case:
    """One image of a data set (with ground truth in `sample`) or of a folder (without ground truth)."""

    name: str
    file: Traversable
    sample: Sample | None = None

    def pixels(self, channels: int) -> NDArray[np.uint8]:
        """Pixels as uint8, (H, W) for one channel and otherwise (H, W, 3)."""
        return read_grey(self.file) if channels == 1 else read_rgb(self.file)

    def truth(self) -> NDArray[np.bool_] | None:
        """Ground truth, bool (H, W), or None without annotation."""
        return None if self.sample is None else united_mask(self.sample)


@dataclass(frozen=True)
class ExportImages:
    """Images of an export.

    Attributes:
        calibration: Images for int8 calibration.
        parity: Images for the comparison of masks, without those for calibration.
        unseen: Number of images in `parity` that were not used to train the weights.
    """

    calibration: tuple[Case, ...]
    parity: tuple[Case, ...]
    unseen: int


def find_cases(spec: str) -> tuple[Case, ...]:
    """Find the images of a data set or folder.

    Args:
        spec: "NAME=PATH", a folder or zip file with a known layout, or a folder of images.

    Returns:
        The lesion images of the data set, or all images of the folder.

    Raises:
        DataError: The data set is unknown or cannot be read, or a folder has no images.
    """
    path = Path(spec)
    try:
        dataset, root = split_spec(spec)
    except DataError:
        if not path.is_dir():
            raise
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise
        return tuple(Case(file.name, file) for file in files)
    manifest = dataset.read(root, include_normal=False, verify=False)
    return tuple(Case(sample.key, sample.image, sample) for sample in manifest.samples)


def split_images(
    compared: Sequence[Case], calibrated: Sequence[Case] | None, config: WeightsConfig, max_parity: int
) -> ExportImages:
    """Split images into a set for calibration and a set for the comparison of masks.

    If `calibrated` is None, the training images among `compared` are used for calibration and the others for the
    comparison. If the provenance of the weights does not distinguish them, every second image is used for each. Images
    are identified by their pixels, or by the bytes of their files if the weights only record those. Larger sets are
    subsampled at even intervals.

    Args:
        compared: Images for the comparison of masks.
        calibrated: Images for calibration; empty for no calibration.
        config: Configuration of the weights, with the provenance.
        max_parity: Maximum number of images for the comparison. For calibration, it is MAX_CALIBRATION_IMAGES.

    Returns:
        The two sets, which have no image in common.

    Raises:
        DataError: There are too few images.
    """
    images = _digests(compared)
    training_names = check_leaks(config.provenance, images).known
    new = [case for case in compared if case.name not in training_names]
    known = [case for case in compared if case.name in training_names]
    if calibrated is not None:
        calibration = spread(calibrated, MAX_CALIBRATION_IMAGES)
        used = set(_digests(calibration).pixels)
        pixels = dict(zip(images.manifest.keys, images.pixels, strict=True))
        parity = [case for case in new or compared if pixels[case.name] not in used]
    elif new and known:
        parity, calibration = new, known
    else:
        parity, calibration = list(compared[1::2]), list(compared[::2])
    parity = spread(parity, max_parity)
    if not parity or (not calibration and calibrated is None):
        raise DataError(
            f"{len(compared)} images are too few to calibrate on some and compare on others. Give more with --images."
        )
    new_names = {case.name for case in new}
    unseen = sum(case.name in new_names for case in parity)
    return ExportImages(tuple(spread(calibration, MAX_CALIBRATION_IMAGES)), tuple(parity), unseen)


def _digests(cases: Sequence[Case]) -> ImageDigests:
    samples = (Sample(case.name, "", case.file, ()) for case in cases)
    return ImageDigests(Manifest("images to export with", tuple(samples)))


def spread(cases: Sequence[Case], most: int) -> list[Case]:
    """At most `most` of `cases`, subsampled at even intervals."""
    if len(cases) <= most:
        return list(cases)
    return [cases[i * len(cases) // most] for i in range(most)]


@dataclass
class _Tally:
    """Values of one candidate, accumulated over images."""

    agreements: list[float] = field(default_factory=list)
    dices: list[float] = field(default_factory=list)
    flipped: int = 0
    largest: float = 0.0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Parity of each candidate, and the median seconds per image of each candidate and of "plain" PyTorch."""

    parity: Mapping[str, Parity]
    seconds: Mapping[str, float]


def compare(plain: Predictor, candidates: Mapping[str, Segment], cases: Iterable[Case]) -> Comparison:
    """Run every image through plain PyTorch and each candidate in turn, and compare the results.

    Raises:
        DataError: There are no images.
    """
    plain_tally, tallies = _Tally(), {name: _Tally() for name in candidates}
    total_pixels = images = 0
    for case in tracked(cases, "comparing masks"):
        pixels, truth = case.pixels(plain.channels), case.truth()
        started = time.perf_counter()
        expected = plain.predict(pixels)
        plain_tally.seconds.append(time.perf_counter() - started)
        images += 1
        total_pixels += expected.mask.size
        if truth is not None:
            plain_tally.dices.append(score_mask(expected.mask, truth).dice)
        for name, segment in candidates.items():
            tally = tallies[name]
            started = time.perf_counter()
            mask, probability = segment(pixels)
            tally.seconds.append(time.perf_counter() - started)
            tally.agreements.append(score_mask(mask, expected.mask).dice if mask.any() or expected.mask.any() else 1.0)
            tally.flipped += int(np.count_nonzero(mask != expected.mask))
            tally.largest = max(tally.largest, float(np.abs(probability - expected.probability).max()))
            if truth is not None:
                tally.dices.append(score_mask(mask, truth).dice)
    if not images:
        raise DataError("There are no images to compare masks on. Give some with --images.")
    parity = {
        name: Parity(
            images=images,
            agreement=float(np.mean(tally.agreements)),
            least_agreement=float(min(tally.agreements)),
            flipped_pixels=tally.flipped,
            pixels=total_pixels,
            largest_difference=tally.largest,
            plain_dice=float(np.mean(plain_tally.dices)) if plain_tally.dices else None,
            dice=float(np.mean(tally.dices)) if tally.dices else None,
        )
        for name, tally in tallies.items()
    }
    seconds = {name: median(tally.seconds) for name, tally in (*tallies.items(), ("plain", plain_tally))}
    return Comparison(parity, seconds)
