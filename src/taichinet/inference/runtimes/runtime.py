"""Runtime: what every way to run a network offers, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

RuntimeName = Literal["eager", "tuned", "onnx", "openvino"]
Precision = Literal["float32", "bf16", "int8"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)


@dataclass(frozen=True)
class RuntimeDescription:
    """Which engine computes, and in which number format most of the arithmetic is done."""

    name: RuntimeName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Maps:
    """What a network says of B images at its own size S: both float32 (B, S, S) in [0, 1].

    `lesion` is the final probability; `disagreement` is |O_p - (1 - O_n)|, None for one-path networks and where it
    was not asked for.
    """

    lesion: NDArray[np.float32]
    disagreement: NDArray[np.float32] | None


class Runtime(Protocol):
    """A network that is ready to answer; the answers of all runtimes agree within their parity report."""

    @property
    def description(self) -> RuntimeDescription:
        """What this runtime is."""

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """The answers for uint8 images (B, C, S, S) of network size, B at least 1."""
