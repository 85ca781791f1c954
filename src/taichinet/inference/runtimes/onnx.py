"""ONNX Runtime: a network graph written by `taichinet export`, float32 or int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import WeightsError
from taichinet.inference.runtimes.runtime import (
    BuildRequest,
    Built,
    Maps,
    Precision,
    Runtime,
    RuntimeDescription,
    RuntimeSpec,
    Segmentation,
)
from taichinet.models.weights_folder import LoadedWeights
from taichinet.runner import Model, open_session


class OnnxRuntime:
    """ONNX Runtime session on the CPU."""

    def __init__(self, model: Path | bytes, precision: Precision, threads: int = 0, disagreement: bool = True) -> None:
        """Open a graph file or its content; `threads` is 0 for one per core.

        Raises:
            WeightsError: The graph cannot be opened.
        """
        self._disagreement = disagreement
        self.description = RuntimeDescription("onnx", precision)
        try:
            self._session = open_session(model, threads)
        except Exception as error:  # the exceptions of onnxruntime have no common base class
            named = "The graph" if isinstance(model, bytes) else f"The graph {model}"
            raise WeightsError(f"{named} cannot be opened ({error}). Write it again: `taichinet export`.") from error

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Output of the network for uint8 images (B, C, S, S)."""
        image = images.astype(np.float32) / np.float32(255)
        outputs = self._session.run(None, {self._session.get_inputs()[0].name: image})
        planes = [np.asarray(output, dtype=np.float32)[:, 0] for output in outputs]
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 and self._disagreement else None)


def _open(loaded: LoadedWeights, graph: Path, precision: Precision, disagreement: bool) -> Runtime:
    return OnnxRuntime(graph, precision, disagreement=disagreement)


def _build(request: BuildRequest) -> Built:
    import onnx

    from taichinet.inference.export.graph import network_graph
    from taichinet.inference.export.processing import complete_onnx
    from taichinet.inference.export.quantise import onnx_int8

    loaded = request.loaded
    graph = network_graph(loaded)
    if request.precision == "int8":
        graph = onnx_int8(graph, request.calibration, request.folder)
    complete = complete_onnx(graph, loaded.channels, loaded.config.size, request.decision, request.notes)
    model = Model(complete.SerializeToString())

    def segment(pixels: NDArray[np.uint8]) -> Segmentation:
        result = model.segment(pixels)
        return result.mask > 0, result.probability

    return Built(
        runtime=OnnxRuntime(graph.SerializeToString(), request.precision),
        segment=segment,
        save_graph=lambda path: onnx.save(graph, path),
        save_complete=lambda path: onnx.save(complete, path),
        packages=("torch", "onnx", "onnxruntime", "onnxscript"),
    )


SPEC = RuntimeSpec(
    "onnx",
    _open,
    packages=("onnxruntime",),
    suffix=".onnx",
    build=_build,
    build_packages=("onnx", "onnxscript"),
)
