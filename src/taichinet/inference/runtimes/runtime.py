"""Interface of the inference runtimes."""

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
    """Name of the runtime, and precision of most of its arithmetic."""

    name: RuntimeName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Maps:
    """Output of a network for B images at its input resolution S.

    Attributes:
        lesion: Probability of lesion, float32 (B, S, S) in [0, 1].
        disagreement: |O_p - (1 - O_n)|, float32 (B, S, S) in [0, 1]. None for one-path networks, or if not requested.
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
