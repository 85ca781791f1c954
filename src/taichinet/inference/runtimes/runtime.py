"""Interface of the inference runtimes, and the description by which a runtime is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from taichinet.evaluation.decision import Decision
from taichinet.models.weights_folder import LoadedWeights

Precision = Literal["float32", "bf16", "int8"]

Segmentation = tuple[NDArray[np.bool_], NDArray[np.float32]]
"""Mask and probability of one image, (H, W) at its original resolution."""

Segment = Callable[[NDArray[np.uint8]], Segmentation]


@dataclass(frozen=True)
class RuntimeDescription:
    """Name of the runtime, and precision of most of its arithmetic."""

    name: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Maps:
    """Output of a network for B images at its input resolution S.

    Attributes:
        lesion: Probability of lesion, float32 (B, S, S) in [0, 1].
        disagreement: `|O_p - (1 - O_n)|`, float32 (B, S, S) in [0, 1]. None for one-path networks, or if not requested.
    """

    lesion: NDArray[np.float32]
    disagreement: NDArray[np.float32] | None


class Runtime(Protocol):
    """A network ready for inference. Outputs of all runtimes agree within the limits of `parity.py`."""

    @property
    def description(self) -> RuntimeDescription:
        """Name and precision of the runtime."""

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Output of the network for uint8 images (B, C, S, S) at its input resolution, with B at least 1."""


class PendingMaps(Protocol):
    """Output of a network that may still be computed."""

    def done(self) -> bool:
        """Whether `maps` returns without waiting."""

    def maps(self) -> Maps:
        """The output, after waiting for it."""


@runtime_checkable
class LaunchingRuntime(Runtime, Protocol):
    """A runtime on a device that computes while the CPU continues."""

    def launch(self, images: NDArray[np.uint8]) -> PendingMaps:
        """Start `maps` without waiting."""


@dataclass(frozen=True)
class BuildRequest:
    """What an export is built from.

    Attributes:
        precision: "int8" for quantisation; otherwise the graph is float32.
        loaded: Network and configuration.
        decision: How the mask is made from the probability.
        calibration: Calibration images for int8, each uint8 (C, S, S); not used otherwise.
        notes: Metadata for the complete graph.
        folder: Folder for temporary files.
    """

    precision: Precision
    loaded: LoadedWeights
    decision: Decision
    calibration: Sequence[NDArray[np.uint8]]
    notes: Mapping[str, str]
    folder: Path


@dataclass(frozen=True)
class Built:
    """An export in memory.

    Attributes:
        runtime: The network graph, in the runtime of `taichinet predict`.
        segment: Runs the complete graph, with pre- and post-processing.
        save_graph: Writes the network graph.
        save_complete: Writes the complete graph.
        packages: Packages whose versions are recorded in the report.
        bf16_runtime: The same float32 graph computed in bf16, or None if runtime or CPU do not support it.
    """

    runtime: Runtime
    segment: Segment
    save_graph: Callable[[Path], None]
    save_complete: Callable[[Path], None]
    packages: tuple[str, ...]
    bf16_runtime: Runtime | None = None


@dataclass(frozen=True)
class RuntimeSpec:
    """One runtime: how it is opened and, if it has files of its own, how they are built.

    Attributes:
        name: Name for `taichinet predict --runtime` and `taichinet export --format`.
        open: Opens the runtime from (weights, graph file, precision of the graph, whether to compute the
            disagreement). If `suffix` is empty, the path is the weights folder.
        packages: Packages that are needed to open it.
        extra: The extra of taichinet that installs them.
        uses_device: Whether it computes on the device of `--device`; otherwise always on the CPU.
        suffix: Suffix of its graph files; empty if it runs the network of the weights without a graph file.
        companions: Suffixes of further files with the same stem that belong to a graph file.
        build: Builds an export; None if `taichinet export` does not support it.
        build_packages: Further packages that are needed to build an export.
        int8_packages: Further packages that are needed for int8.
    """

    name: str
    open: Callable[[LoadedWeights, Path, Precision, bool], Runtime]
    packages: tuple[str, ...] = ()
    extra: str = "export"
    uses_device: bool = False
    suffix: str = ""
    companions: tuple[str, ...] = ()
    build: Callable[[BuildRequest], Built] | None = None
    build_packages: tuple[str, ...] = ()
    int8_packages: tuple[str, ...] = ()

    def missing_packages(self, build: bool = False, int8: bool = False) -> list[str]:
        """Packages that are not installed, of those needed to open it, and to build an export (also with int8)."""
        needed = (*self.packages, *(self.build_packages if build else ()), *(self.int8_packages if int8 else ()))
        return [package for package in needed if find_spec(package) is None]

    def files(self, graph: Path) -> tuple[Path, ...]:
        """All files of the graph file `graph`."""
        return (graph, *(graph.with_suffix(suffix) for suffix in self.companions))
