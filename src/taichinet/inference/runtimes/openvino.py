"""OpenVINO: a network-size graph that `taichinet export` wrote, float32, bf16 or int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from taichinet.errors import WeightsError
from taichinet.inference.runtimes.runtime import Maps, Precision, RuntimeDescription


class OpenVino:
    """A model compiled for the CPU."""

    def __init__(
        self, model: Path | openvino.Model, precision: Precision, threads: int = 0, disagreement: bool = True
    ) -> None:
        """`model` is an .xml, an .onnx or a model in memory; `threads` 0 is one a core.

        Raises WeightsError for a file that is no graph, and for bf16 on a processor without it.
        """
        self._disagreement = disagreement
        self.description = RuntimeDescription("openvino", precision)
        core = openvino.Core()
        if precision == "bf16" and not has_bf16():
            raise WeightsError(
                "This processor has no bf16 arithmetic, so OpenVINO would compute in float32 under another name. "
                "Use float32 or int8."
            )
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            opened = core.read_model(model) if isinstance(model, Path) else model
            self._compiled = core.compile_model(opened, "CPU", settings)
        except RuntimeError as error:
            raise WeightsError(
                f"The graph {model} cannot be opened ({error}). Write it again: `taichinet export`."
            ) from error

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """The answers for uint8 images (B, C, S, S)."""
        image = images.astype(np.float32) / np.float32(255)
        answers = self._compiled([image])
        planes = [np.array(answers[i], dtype=np.float32)[:, 0] for i in range(len(self._compiled.outputs))]
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 and self._disagreement else None)


def has_bf16() -> bool:
    """Whether OpenVINO finds bf16 arithmetic in this processor."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
