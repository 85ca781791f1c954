"""The real images of an export: on which int8 is calibrated, and on which the masks are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.image_io import read_grey, read_rgb, united_mask
from taichinet.datasets.known_images import ImageDigests, check_leaks
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError
from taichinet.models.weights import WeightsConfig

MOST_CALIBRATION_IMAGES = 64
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Case:
    """One image of a data set (`sample` tells its truth) or of a plain folder (no truth)."""

    name: str
    file: Traversable
    sample: Sample | None = None

    def pixels(self, channels: int) -> NDArray[np.uint8]:
        """Uint8 (H, W) or, for a network of colour, (H, W, 3)."""
        return read_grey(self.file) if channels == 1 else read_rgb(self.file)

    def truth(self) -> NDArray[np.bool_] | None:
        """The lesion as drawn, (H, W); None where nobody drew it."""
        return None if self.sample is None else united_mask(self.sample)


@dataclass(frozen=True)
class ExportImages:
    """`calibration` and `parity` have no image in common; of the parity images `unseen` are new to the weights."""

    calibration: tuple[Case, ...]
    parity: tuple[Case, ...]
    unseen: int


def find_cases(spec: str) -> tuple[Case, ...]:
    """The lesion images of a data set ("NAME=PATH", or a folder or zip of a known layout), or of a plain folder."""
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
    """The images for both purposes.

    Without a set of its own (None) the calibration takes, from the compared set, what the training of the weights has
    seen, and the comparison the rest; where the provenance does not tell them apart, every second image. An empty
    `calibrated` calibrates nothing. Images are the same where their pixels are, and with weights that record only the
    bytes of files, where those are. `most_parity` and MOST_CALIBRATION_IMAGES are drawn at even distances.
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
    """At most `most` of `cases`, at even distances."""
    if len(cases) <= most:
        return list(cases)
    return [cases[i * len(cases) // most] for i in range(most)]
