"""Label maps: all nested regions of an image as integers in one file, as nnU-Net and MONAI want them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.image_io import label_values
from taichinet.datasets.manifest import Mask, MaskRule, Sample
from taichinet.errors import DataError

NOT_BACKGROUND = MaskRule(1, 255)
"""The rule of a mask that belongs to one region alone: 0 and 1, or 0 and 255."""

_HIGHEST = 255


@dataclass(frozen=True)
class LabelScheme:
    """Which label values paint which region: `names` and `rules` are parallel, outer regions before inner ones."""

    names: tuple[str, ...]
    rules: tuple[MaskRule, ...]

    @property
    def values(self) -> frozenset[int]:
        """Every value that a label map may hold."""
        return frozenset({0}.union(*(range(rule.low, rule.high + 1) for rule in self.rules)))

    def masks(self, file: Traversable) -> tuple[Mask, ...]:
        """The label map `file` as one mask a region."""
        return tuple(Mask(file, region, rule) for region, rule in enumerate(self.rules))


def encode(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Nested masks (R, H, W), outer before inner, as a label map uint8 (H, W): in how many a pixel is."""
    labels: NDArray[np.uint8] = masks.sum(axis=0, dtype=np.uint8)
    return labels


def declare(regions: Sequence[str]) -> dict[str, int | list[int]]:
    """nnU-Net's `labels` for maps of `encode`: {"background": 0, "disc": [1, 2], "cup": 2}."""
    values = {name: list(range(region + 1, len(regions) + 1)) for region, name in enumerate(regions)}
    return {"background": 0, **{name: own[0] if len(own) == 1 else own for name, own in values.items()}}


def read_scheme(labels: object, source: Traversable) -> LabelScheme:
    """The scheme of a `labels` entry; DataError names `source`, the file in which it stands.

    Read are nnU-Net's {name: value or values} and the Decathlon's {"value": name}. Each region must be a range of
    values, and its range must hold those of all regions inside it: labels that stand beside each other are refused.
    """
    if not isinstance(labels, dict):
        raise DataError(f'{source}: \'labels\' must be like {{"background": 0, "lesion": 1}}, not {labels!r}.')
    if labels and all(str(key).isdecimal() for key in labels):
        labels = {str(name): int(value) for value, name in labels.items()}
    if "ignore" in labels:
        raise DataError(
            f"{source}: the label 'ignore' ({labels['ignore']!r}) is not supported: every pixel counts here. Make it "
            "background or a region in the label maps, and remove it."
        )
    found = {str(name): _values(name, own, source) for name, own in labels.items()}
    if found.pop("background", (0,)) != (0,):
        raise DataError(f"{source}: 'background' must be 0, not {labels['background']!r}.")
    if not found:
        raise DataError(f'{source}: \'labels\' names no region. Name one, as in {{"background": 0, "lesion": 1}}.')
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[1]))
    for (outer, around), (inner, inside) in pairwise(ordered):
        if not set(inside) < set(around):
            raise DataError(
                f"{source}: regions must lie in each other, but '{inner}' {list(inside)} is no part of '{outer}' "
                f"{list(around)}. Where it is one on the images, say so, e.g. "
                f'"labels": {{"background": 0, "{outer}": [1, 2], "{inner}": 2}}; labels beside each other cannot be '
                "read: keep one of them, or unite them."
            )
    return LabelScheme(
        tuple(name for name, _ in ordered), tuple(MaskRule(values[0], values[-1]) for _, values in ordered)
    )


def checked_samples(
    samples: Sequence[Sample], allowed: frozenset[int], include_normal: bool, verify: bool, problems: list[str]
) -> list[Sample]:
    """`samples` whose label maps were looked into: what holds a value outside `allowed` goes to `problems`.

    With `include_normal` false, samples whose maps hold nothing but background are left out. Where neither is asked
    for, no file is opened.
    """
    if include_normal and not verify:
        return list(samples)

    def look(sample: Sample) -> tuple[list[str], bool]:
        faults, empty = [], True
        for file in {str(mask.file): mask.file for mask in sample.masks}.values():
            try:
                values = label_values(file)
            except DataError as fault:
                faults.append(str(fault))
                empty = False
                continue
            empty = empty and values <= {0}
            if not values <= allowed:
                declared = ", ".join(map(str, sorted(allowed)))
                faults.append(
                    f"{file}: holds the label {max(values - allowed)}, declared are {declared}. Mend the label map, or "
                    "declare the label."
                )
        return faults, empty

    with ThreadPoolExecutor(max_workers=2) as pool:
        seen = list(pool.map(look, samples))
    for faults, _ in seen:
        problems += faults
    return [sample for sample, (_, empty) in zip(samples, seen, strict=True) if include_normal or not empty]


def _values(name: object, own: object, source: Traversable) -> tuple[int, ...]:
    """The values of one region, ascending; DataError unless they are whole numbers without a gap."""
    listed = own if isinstance(own, list) else [own]
    if not listed or not all(type(value) is int and 0 <= value <= _HIGHEST for value in listed):
        raise DataError(f"{source}: label '{name}' must be a whole number in 0..{_HIGHEST}, or a list, not {own!r}.")
    values = tuple(sorted(set(listed)))
    if values != tuple(range(values[0], values[-1] + 1)):
        raise DataError(
            f"{source}: the values of label '{name}' leave a gap ({own!r}). Renumber the label maps so that each "
            "region is a range of values, inner regions higher: 1 the outermost's rest, 2 what lies in it."
        )
    if values[0] == 0 and name != "background":
        raise DataError(f"{source}: label '{name}' holds 0, which is the background's. Renumber it from 1.")
    return values
