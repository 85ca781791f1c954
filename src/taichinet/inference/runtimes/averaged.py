"""Mean of several outputs: of the networks of an ensemble, and of an image and its mirror image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taichinet.inference.runtimes.runtime import Maps, Runtime, RuntimeDescription


@dataclass(frozen=True)
class Ensemble:
    """The mean of the maps of several networks of the same input resolution; the time is the sum of theirs."""

    members: tuple[Runtime, ...]

    @property
    def description(self) -> RuntimeDescription:
        """That of the first network, with the number of networks."""
        first = self.members[0].description
        return RuntimeDescription(f"{first.name} (mean of {len(self.members)} networks)", first.precision)

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """The mean of the maps for uint8 images (B, C, S, S)."""
        return _mean([member.maps(images) for member in self.members])


@dataclass(frozen=True)
class MirroredRuntime:
    """The mean of the maps of each image and its horizontal mirror image, at twice the time."""

    runtime: Runtime

    @property
    def description(self) -> RuntimeDescription:
        """That of the runtime, with a note."""
        own = self.runtime.description
        return RuntimeDescription(f"{own.name} (mean with the mirror image)", own.precision)

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """The mean of the maps for uint8 images (B, C, S, S)."""
        mirrored = self.runtime.maps(np.ascontiguousarray(images[..., ::-1]))
        back = Maps(
            mirrored.lesion[..., ::-1], None if mirrored.disagreement is None else mirrored.disagreement[..., ::-1]
        )
        return _mean([self.runtime.maps(images), back])


def _mean(maps: Sequence[Maps]) -> Maps:
    disagreements = [part.disagreement for part in maps if part.disagreement is not None]
    return Maps(
        np.mean([part.lesion for part in maps], axis=0, dtype=np.float32),
        np.mean(disagreements, axis=0, dtype=np.float32) if len(disagreements) == len(maps) else None,
    )
