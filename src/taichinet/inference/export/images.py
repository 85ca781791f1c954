"""Real images of an export: for int8 calibration and for the comparison of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.duplicates.known_images import ImageDigests, check_leaks
from taichinet.datasets.image_io import read_grey, read_rgb, united_mask
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError
from taichinet.models.weights import WeightsConfig

MOST_CALIBRATION_IMAGES = 64
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


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
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in IMAGE_ENDINGS]
        if not files:
            raise
        return tuple(Case(file.name, file) for file in files)
    manifest = dataset.read(root, include_normal=False, verify=False)
    return tuple(Case(sample.key, sample.image, sample) for sample in manifest.samples)


def share_out(
    compared: Sequence[Case], calibrated: Sequence[Case] | None, config: WeightsConfig, most_parity: int
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
        most_parity: Maximum number of images for the comparison. For calibration, it is MOST_CALIBRATION_IMAGES.

    Returns:
        The two sets, which have no image in common.

    Raises:
        DataError: There are too few images.
    """
    images = _digests(compared)
    seen = check_leaks(config.provenance, images).known
    new = [case for case in compared if case.name not in seen]
    known = [case for case in compared if case.name in seen]
    if calibrated is not None:
        calibration = _spread(calibrated, MOST_CALIBRATION_IMAGES)
        used = set(_digests(calibration).pixels)
        pixels = dict(zip(images.manifest.keys, images.pixels, strict=True))
        parity = [case for case in new or compared if pixels[case.name] not in used]
    elif new and known:
        parity, calibration = new, known
    else:
        parity, calibration = list(compared[1::2]), list(compared[::2])
    parity = _spread(parity, most_parity)
    if not parity or (not calibration and calibrated is None):
        raise DataError(
            f"{len(compared)} images are too few to calibrate on some and compare on others. Name more with --images."
        )
    new_names = {case.name for case in new}
    unseen = sum(case.name in new_names for case in parity)
    return ExportImages(tuple(_spread(calibration, MOST_CALIBRATION_IMAGES)), tuple(parity), unseen)


def _digests(cases: Sequence[Case]) -> ImageDigests:
    samples = (Sample(case.name, "", case.file, ()) for case in cases)
    return ImageDigests(Manifest("images to export with", tuple(samples)))


def _spread(cases: Sequence[Case], most: int) -> list[Case]:
    """At most `most` of `cases`, subsampled at even intervals."""
    if len(cases) <= most:
        return list(cases)
    return [cases[i * len(cases) // most] for i in range(most)]
