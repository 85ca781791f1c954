"""Shift suite: declared changes of test images that stand for other machines, settings and exports.

Each shift is one transformation of the augmentation with a fixed amount, applied to every image at input resolution.
Amounts are at or beyond the limits of the training's ranges. They were declared before any network was scored with
them, and no network is selected by them.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from taichinet.datasets.prepared import Prepared
from taichinet.datasets.ultrasound.settings import Effect, UltrasoundSettings
from taichinet.datasets.ultrasound.transforms import draw_ultrasound

_SEED = 0  # of positions, grains and digits: each shift is the same for all networks
_BATCH = 16


def _only(name: str, amount: float) -> UltrasoundSettings:
    """Settings with one transformation, which every image has with the same amount."""
    off = {effect: values | {"probability": 0.0} for effect, values in UltrasoundSettings().model_dump().items()}
    return UltrasoundSettings.model_validate({**off, name: Effect(probability=1, range=(amount, amount))})


# By name: gain and contrast as factor and exponent, resolution and crop as share of the side, see UltrasoundSettings.
SHIFTS: dict[str, UltrasoundSettings] = {
    "gain 0.6": _only("gain", 0.6),
    "gain 1.6": _only("gain", 1.6),
    "depth gain 0.5": _only("depth_gain", 0.5),
    "depth gain 2": _only("depth_gain", 2),
    "contrast 0.6": _only("contrast", 0.6),
    "contrast 1.8": _only("contrast", 1.8),
    "resolution 0.5": _only("resolution", 0.5),
    "resolution 0.25": _only("resolution", 0.25),
    "crop 0.75": _only("crop", 0.75),
    "frame: zoom 0.6": _only("zoom", 0.6),
    "frame: sector 0.5": _only("sector", 0.5),
    "marks": _only("marks", 1.0),
    "speckle 0.25": _only("speckle", 0.25),
    "shadow 0.2": _only("shadow", 0.2),
}


def shifted(data: Prepared, shift: str) -> Prepared:
    """Images and masks after a shift.

    Args:
        data: Images and masks at input resolution.
        shift: A name of `SHIFTS`.

    Returns:
        New images and masks of the same keys. A lesion outside the crop or the field of view has no pixels left.
    """
    generator = torch.Generator().manual_seed(_SEED)
    rows = torch.arange(len(data.keys), device=data.image.device).split(_BATCH)
    drawn = draw_ultrasound([len(part) for part in rows], SHIFTS[shift], generator, data.image.device)
    batches = [transforms.apply(data.batch(part)) for part, transforms in zip(rows, drawn, strict=True)]
    image = torch.cat([(batch.image * 255).round().to(torch.uint8) for batch in batches])
    lesion = torch.cat([batch.lesion.to(torch.uint8) for batch in batches])
    return replace(data, image=image, lesion=lesion)
