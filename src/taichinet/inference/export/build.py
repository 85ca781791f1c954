"""Build an export in memory: the graph of the network, and the complete graph with pre- and post-processing."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taichinet.inference.export.comparison import Answer, Segment
from taichinet.inference.runtimes.runtime import Precision, Runtime
from taichinet.models.weights import LoadedWeights

ExportFormat = Literal["onnx", "openvino"]
ENDINGS: dict[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml"}


@dataclass(frozen=True)
class Built:
    """An export in memory.

    Attributes:
        runtime: The network graph, in the runtime of `taichinet predict`.
        bf16_runtime: The same float32 graph computed in bf16, or None if format or CPU do not support it.
        segment: Runs the complete graph.
        save_graph: Writes the network graph.
        save_whole: Writes the complete graph.
        resize: Resizing as in the complete graph: uint8 (H, W) or (H, W, 3) -> uint8 (C, S, S).
        versions: Versions of the packages used.
    """

    runtime: Runtime
    bf16_runtime: Runtime | None
    segment: Segment
    save_graph: Callable[[Path], None]
    save_whole: Callable[[Path], None]
    resize: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    versions: Mapping[str, str]


def build(
    form: ExportFormat,
    precision: Precision,
    loaded: LoadedWeights,
    threshold: float,
    calibration: Sequence[NDArray[np.uint8]],
    notes: dict[str, str],
    output: Path,
) -> Built:
    """Build an export.

    Args:
        form: File format.
        precision: "int8" for quantisation; otherwise the graph is float32.
        loaded: Network and configuration.
        threshold: Probability threshold of the mask.
        calibration: Calibration images for int8, each uint8 (C, S, S); not used otherwise.
        notes: Metadata for the complete graph.
        output: Folder for temporary files.

    Returns:
        The network graph and the complete graph.
    """
    import onnx

    from taichinet.inference.export.compose import whole_onnx
    from taichinet.inference.export.graph import network_graph
    from taichinet.inference.export.quantise import onnx_int8

    graph = network_graph(loaded, transposed=form == "openvino")
    resize = _resizing(loaded.channels, loaded.config.size)
    if form == "openvino":
        return _build_openvino(graph, precision, loaded, threshold, calibration, notes, resize)
    from taichinet.inference.runtimes.onnx import OnnxRuntime
    from taichinet.runner import Model

    if precision == "int8":
        graph = onnx_int8(graph, calibration, output)
    whole = whole_onnx(graph, loaded.channels, loaded.config.size, threshold, notes)
    model = Model(whole.SerializeToString())

    def segment(pixels: NDArray[np.uint8]) -> Answer:
        found = model.segment(pixels)
        return found.mask > 0, found.probability

    return Built(
        runtime=OnnxRuntime(graph.SerializeToString(), precision),
        bf16_runtime=None,
        segment=segment,
        save_graph=lambda path: onnx.save(graph, path),
        save_whole=lambda path: onnx.save(whole, path),
        resize=resize,
        versions=_versions("torch", "onnx", "onnxruntime", "onnxscript"),
    )


def _build_openvino(
    graph: Any,
    precision: Precision,
    loaded: LoadedWeights,
    threshold: float,
    calibration: Sequence[NDArray[np.uint8]],
    notes: dict[str, str],
    resize: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> Built:
    import openvino

    from taichinet.inference.export.compose import whole_openvino
    from taichinet.inference.export.quantise import openvino_int8
    from taichinet.inference.runtimes.openvino import OpenVino, has_bf16

    core = openvino.Core()
    network = core.read_model(graph.SerializeToString())
    if precision == "int8":
        with redirect_stdout(io.StringIO()):  # its progress bars
            network = openvino_int8(network, calibration)
    whole = whole_openvino(network.clone(), loaded.channels, loaded.config.size, threshold)
    for key, value in notes.items():
        whole.set_rt_info(value, ["taichinet", key])
    compiled = core.compile_model(whole, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})

    def segment(pixels: NDArray[np.uint8]) -> Answer:
        answer = compiled([pixels[..., None] if pixels.ndim == 2 else pixels])
        return np.array(answer["mask"]) > 0, np.array(answer["probability"], dtype=np.float32)

    return Built(
        runtime=OpenVino(network, precision),
        bf16_runtime=OpenVino(network, "bf16") if precision == "float32" and has_bf16() else None,
        segment=segment,
        save_graph=lambda path: openvino.save_model(network, path, compress_to_fp16=False),
        save_whole=lambda path: openvino.save_model(whole, path, compress_to_fp16=False),
        resize=resize,
        versions=_versions("torch", "onnx", "onnxscript", "openvino", *(["nncf"] if precision == "int8" else [])),
    )


def _resizing(channels: int, size: int) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Only the pre-processing of the complete graph, with its output converted back to uint8."""
    import onnxruntime

    from taichinet.inference.export.processing import IMAGE, before_network

    session = onnxruntime.InferenceSession(
        before_network(channels, size).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def resize(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = pixels[..., None] if pixels.ndim == 2 else pixels
        normalised = np.asarray(session.run(None, {IMAGE: image})[0])[0]
        return np.asarray(np.round(normalised * 255).astype(np.uint8))

    return resize


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
