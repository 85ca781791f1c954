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
    """A model compiled for the CPU: one image takes all cores, the images of a batch a core each.

    Each core on an image of its own spares the waiting at every layer's end, and does not stall when other threads,
    such as those that decode and write, take a core for a while.
    """

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
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            opened = core.read_model(model) if isinstance(model, Path) else model
            self._alone = core.compile_model(opened, "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})
            together = core.compile_model(opened, "CPU", settings | {"PERFORMANCE_HINT": "THROUGHPUT"})
            self._together = openvino.AsyncInferQueue(together)
        except RuntimeError as error:
            raise WeightsError(
                f"The graph {model} cannot be opened ({error}). Write it again: `taichinet export`."
            ) from error

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """The answers for uint8 images (B, C, S, S)."""
        image = images.astype(np.float32) / np.float32(255)
        if len(image) == 1:
            found = self._alone([image])
            planes = [np.array(found[i], dtype=np.float32)[:, 0] for i in range(len(self._alone.outputs))]
        else:
            planes = self._each(image)
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 and self._disagreement else None)

    def _each(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Every answer for float images (B, C, S, S), each (B, S, S)."""
        count, _, height, width = image.shape
        planes = [np.empty((count, height, width), np.float32) for _ in self._alone.outputs]

        def keep(request: openvino.InferRequest, row: int) -> None:
            for i, plane in enumerate(planes):
                plane[row] = request.get_output_tensor(i).data[0, 0]

        self._together.set_callback(keep)
        for row in range(count):
            self._together.start_async([image[row : row + 1]], row)
        self._together.wait_all()
        return planes


def has_bf16() -> bool:
    """Whether OpenVINO finds bf16 arithmetic in this processor."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
