"""OpenVINO: a network graph written by `taichinet export`, float32, bf16 or int8."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    import openvino


class OpenVino:
    """OpenVINO model for the CPU. A single image uses all threads; several images of a batch are computed in parallel.

    With fewer threads per image, less time is lost in the synchronisation after every layer, and other images are not
    delayed when a core is used by the threads for decoding and writing.
    """

    def __init__(
        self, model: Path | openvino.Model, precision: Precision, threads: int = 0, disagreement: bool = True
    ) -> None:
        """Open and compile an .xml or .onnx file, or a model in memory; `threads` is 0 for the default of OpenVINO.

        Raises:
            WeightsError: The graph cannot be opened, or the CPU does not support bf16.
        """
        self._disagreement = disagreement
        self.description = RuntimeDescription("openvino", precision)
        self._core = openvino_core()
        if precision == "bf16" and not has_bf16():
            raise WeightsError(
                "This processor has no bf16 arithmetic: OpenVINO would compute in float32 instead. Use float32 or int8."
            )
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = self._core.read_model(model) if isinstance(model, Path) else model
            settings = self._settings | {"PERFORMANCE_HINT": "LATENCY"}
            self._latency_model = self._core.compile_model(self._model, "CPU", settings)
        except RuntimeError as error:
            raise WeightsError(
                f"The graph {model} cannot be opened ({error}). Write it again: `taichinet export`."
            ) from error

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Output of the network for uint8 images (B, C, S, S)."""
        image = images.astype(np.float32) / np.float32(255)
        planes = self._run_batch(image) if len(image) == 1 else self._run_in_parallel(image)
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 and self._disagreement else None)

    def _run_batch(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs for a batch of float images (B, C, S, S), each (B, S, S)."""
        outputs = self._latency_model([image])
        return [np.array(outputs[i], dtype=np.float32)[:, 0] for i in range(len(self._latency_model.outputs))]

    def _run_in_parallel(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The same outputs, with as many images in parallel as OpenVINO recommends."""
        shape = (len(image), *image.shape[2:])
        outputs = [np.empty(shape, np.float32) for _ in self._latency_model.outputs]

        def collect(request: openvino.InferRequest, row: int) -> None:
            for i, output in enumerate(outputs):
                output[row] = request.get_output_tensor(i).data[0, 0]

        self._requests.set_callback(collect)
        try:
            for row in range(len(image)):
                self._requests.start_async([image[row : row + 1]], row)
        finally:  # also after an interrupt: no request may continue to run
            self._requests.wait_all()
        return outputs

    @cached_property
    def _requests(self) -> openvino.AsyncInferQueue:
        """One request per parallel image. Created with the first batch, because compilation takes time."""
        import openvino

        # Threads are not pinned, because they share the cores with the threads for decoding and writing.
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "ENABLE_CPU_PINNING": False}
        compiled = self._core.compile_model(self._model, "CPU", self._settings | streams)
        return openvino.AsyncInferQueue(compiled)


def has_bf16() -> bool:
    """Whether OpenVINO supports bf16 on this CPU."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def openvino_core() -> openvino.Core:
    """The core of OpenVINO, with its plugin for the CPU; one for the whole process.

    The plugin replaces the alternate signal stack of the thread that loads it. If the plugin is unloaded with its core,
    this stack is unmapped, and the next signal ends the process with a segmentation fault, also Ctrl-C.
    """
    import openvino

    core = openvino.Core()
    core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # loads the plugin
    return core


def _open(loaded: LoadedWeights, graph: Path, precision: Precision, disagreement: bool) -> Runtime:
    return OpenVino(graph, precision, disagreement=disagreement)


def _build(request: BuildRequest) -> Built:
    import openvino

    from taichinet.inference.export.graph import network_graph
    from taichinet.inference.export.processing import complete_openvino
    from taichinet.inference.export.quantise import openvino_int8

    loaded, precision = request.loaded, request.precision
    core = openvino_core()  # before those of NNCF, so that their plugins find its signal stack
    network = core.read_model(network_graph(loaded, transposed=True).SerializeToString())
    if precision == "int8":
        with redirect_stdout(io.StringIO()):  # its progress bars
            network = openvino_int8(network, request.calibration)
    complete = complete_openvino(network.clone(), loaded.channels, loaded.config.size, request.decision)
    for key, value in request.notes.items():
        complete.set_rt_info(value, ["taichinet", key])
    compiled = core.compile_model(complete, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})

    def segment(pixels: NDArray[np.uint8]) -> Segmentation:
        outputs = compiled([pixels[..., None] if pixels.ndim == 2 else pixels])
        return request.decision.cleaned(np.array(outputs["mask"]) > 0), np.array(
            outputs["probability"], dtype=np.float32
        )

    return Built(
        runtime=OpenVino(network, precision),
        segment=segment,
        save_graph=lambda path: openvino.save_model(network, path, compress_to_fp16=False),
        save_complete=lambda path: openvino.save_model(complete, path, compress_to_fp16=False),
        packages=("torch", "onnx", "onnxscript", "openvino", *(["nncf"] if precision == "int8" else [])),
        bf16_runtime=OpenVino(network, "bf16") if precision == "float32" and has_bf16() else None,
    )


SPEC = RuntimeSpec(
    "openvino",
    _open,
    packages=("openvino",),
    suffix=".xml",
    companions=(".bin",),
    build=_build,
    build_packages=("onnx", "onnxruntime", "onnxscript"),
    int8_packages=("nncf",),
)
