"""Label maps: all nested regions of an image as integers in one file, as nnU-Net and MONAI read them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.dataset import Reading
from taichinet.datasets.sample import Mask, MaskRule, Sample
from taichinet.errors import DataError

NOT_BACKGROUND = MaskRule(1, 255)
"""The rule of a mask of one region: 0 and 1, or 0 and 255."""

_HIGHEST = 255


@dataclass(frozen=True)
class LabelScheme:
    """The values of each region: `names` and `rules` are parallel, outer regions before inner ones."""

    names: tuple[str, ...]
    rules: tuple[MaskRule, ...]

    @property
    def values(self) -> frozenset[int]:
        """All values that may occur in a label map."""
        return frozenset({0}.union(*(range(rule.low, rule.high + 1) for rule in self.rules)))

    def masks(self, file: Traversable) -> tuple[Mask, ...]:
        """The label map `file` as one mask per region."""
        return tuple(Mask(file, region, rule) for region, rule in enumerate(self.rules))


def encode(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Nested masks (R, H, W), outer before inner, as a label map uint8 (H, W): the number of regions of each pixel."""
    labels: NDArray[np.uint8] = masks.sum(axis=0, dtype=np.uint8)
    return labels


def declare(regions: Sequence[str]) -> dict[str, int | list[int]]:
    """The `labels` of nnU-Net for maps of `encode`: {"background": 0, "disc": [1, 2], "cup": 2}."""
    values = {name: list(range(region + 1, len(regions) + 1)) for region, name in enumerate(regions)}
    return {"background": 0, **{name: own[0] if len(own) == 1 else own for name, own in values.items()}}


def read_scheme(labels: object, source: Traversable) -> LabelScheme:
    """Read the entry `labels` of an index file.

    Args:
        labels: {name: value or values} as in nnU-Net, or {"value": name} as in the Medical Segmentation Decathlon.
        source: The index file, for messages.

    Returns:
        The scheme.

    Raises:
        DataError: A region is not a range of values, or the ranges are not nested.
    """
    if not isinstance(labels, dict):
        raise DataError(f'{source}: \'labels\' must be like {{"background": 0, "lesion": 1}}, not {labels!r}.')
    if labels and all(str(key).isdecimal() for key in labels):
        labels = {str(name): int(value) for value, name in labels.items()}
    if "ignore" in labels:
        raise DataError(
            f"{source}: the label 'ignore' ({labels['ignore']!r}) is not supported: all pixels are evaluated. Make it "
            "background or a region in the label maps, and remove it."
        )
    values_of = {str(name): _values(name, own, source) for name, own in labels.items()}
    if values_of.pop("background", (0,)) != (0,):
        raise DataError(f"{source}: 'background' must be 0, not {labels['background']!r}.")
    if not values_of:
        raise DataError(f'{source}: \'labels\' names no region. Name one, as in {{"background": 0, "lesion": 1}}.')
    ordered = sorted(values_of.items(), key=lambda item: (-len(item[1]), item[1]))
    for (outer, around), (inner, inside) in pairwise(ordered):
        if not set(inside) < set(around):
            raise DataError(
                f"{source}: regions must be nested, but '{inner}' {list(inside)} is not part of '{outer}' "
                f"{list(around)}. If it is part of it in the images, declare it, e.g. "
                f'"labels": {{"background": 0, "{outer}": [1, 2], "{inner}": 2}}; disjoint labels are not supported: '
                "keep one of them, or unite them."
            )
    return LabelScheme(
        tuple(name for name, _ in ordered), tuple(MaskRule(values[0], values[-1]) for _, values in ordered)
    )


def checked_samples(samples: Sequence[Sample], allowed: frozenset[int], reading: Reading) -> list[Sample]:
    """Check the values of label maps, and leave out samples without a lesion unless normal images are requested.

    Args:
        samples: Samples whose masks are label maps.
        allowed: All values that may occur; `reading.problems` receives a line for each file with others.
        reading: Files are only opened if it verifies them or normal images are not requested.

    Returns:
        The requested samples in the same order.
    """
    if reading.include_normal and not reading.verify:
        return list(samples)

    def check(sample: Sample) -> tuple[list[str], bool]:
        faults, empty = [], True
        for file in {str(mask.file): mask.file for mask in sample.masks}.values():
            try:
                values = reading.files.label_values(file)
            except DataError as fault:
                faults.append(str(fault))
                empty = False
                continue
            empty = empty and values <= {0}
            if not values <= allowed:
                declared = ", ".join(map(str, sorted(allowed)))
                faults.append(
                    f"{file}: has the label {max(values - allowed)}, but declared are {declared}. Correct the label "
                    "map, or declare the label."
                )
        return faults, empty

    with ThreadPoolExecutor(max_workers=2) as pool:
        checked = list(pool.map(check, samples))
    for faults, _ in checked:
        reading.problems += faults
    return [sample for sample, (_, empty) in zip(samples, checked, strict=True) if reading.include_normal or not empty]


def _values(name: object, own: object, source: Traversable) -> tuple[int, ...]:
    """The values of one region, ascending; raises DataError unless they are integers without a gap."""
    listed = own if isinstance(own, list) else [own]
    if not listed or not all(type(value) is int and 0 <= value <= _HIGHEST for value in listed):
        raise DataError(f"{source}: label '{name}' must be a whole number in 0..{_HIGHEST}, or a list, not {own!r}.")
    values = tuple(sorted(set(listed)))
    if values != tuple(range(values[0], values[-1] + 1)):
        raise DataError(
            f"{source}: the values of label '{name}' have a gap ({own!r}). Renumber the label maps so that each "
            "region is a range of values, inner regions higher: 1 for the outermost region, 2 for the one inside it."
        )
    if values[0] == 0 and name != "background":
        raise DataError(f"{source}: label '{name}' contains 0, which is background. Renumber it from 1.")
    return values
