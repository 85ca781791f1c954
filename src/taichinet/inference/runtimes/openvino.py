"""OpenVINO: a network graph written by `taichinet export`, float32, bf16 or int8."""

from __future__ import annotations

from collections import deque
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from taichinet.errors import WeightsError
from taichinet.inference.runtimes.runtime import Maps, Precision, RuntimeDescription


class OpenVino:
    """OpenVINO model for the CPU. A single image uses all threads; several images of a batch are computed in parallel.

    With fewer threads per image, less time is lost in the synchronisation after every layer, and other images are not
    delayed when a core is used by the threads for decoding and writing.
    """

    def __init__(
        self, model: Path | openvino.Model, precision: Precision, threads: int = 0, disagreement: bool = True
    ) -> None:
        """Open and compile a graph.

        Args:
            model: An .xml or .onnx file, or a model in memory.
            precision: Precision of the arithmetic.
            threads: Number of threads; 0 for the default of OpenVINO.
            disagreement: Whether to return the disagreement of the two paths.

        Raises:
            WeightsError: The graph cannot be opened, or the CPU does not support bf16.
        """
        self._disagreement = disagreement
        self.description = RuntimeDescription("openvino", precision)
        self._core = openvino.Core()
        if precision == "bf16" and not has_bf16():
            raise WeightsError(
                "This processor has no bf16 arithmetic, so OpenVINO would compute in float32 under another name. "
                "Use float32 or int8."
            )
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = self._core.read_model(model) if isinstance(model, Path) else model
            self._alone = self._core.compile_model(self._model, "CPU", self._settings | {"PERFORMANCE_HINT": "LATENCY"})
        except RuntimeError as error:
            raise WeightsError(
                f"The graph {model} cannot be opened ({error}). Write it again: `taichinet export`."
            ) from error

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Output of the network for uint8 images (B, C, S, S)."""
        image = images.astype(np.float32) / np.float32(255)
        planes = self._whole(image) if len(image) == 1 else self._each(image)
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 and self._disagreement else None)

    def _whole(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs for a batch of float images (B, C, S, S), each (B, S, S)."""
        found = self._alone([image])
        return [np.array(found[i], dtype=np.float32)[:, 0] for i in range(len(self._alone.outputs))]

    def _each(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The same outputs, with as many images in parallel as OpenVINO recommends."""
        requests, running = self._requests, deque[openvino.InferRequest]()
        answers: list[list[NDArray[np.float32]]] = [[] for _ in self._alone.outputs]

        def collect() -> None:
            request = running[0]
            request.wait()  # if interrupted here, the request is still in `running`
            running.popleft()
            for i, answer in enumerate(answers):
                answer.append(np.array(request.get_output_tensor(i).data[:, 0], dtype=np.float32))

        try:
            for row in range(len(image)):
                if len(running) == len(requests):
                    collect()
                running.append(requests[row % len(requests)])
                running[-1].start_async([image[row : row + 1]])
            while running:
                collect()
        finally:  # after an interrupt, no request may continue to run
            for request in running:
                request.wait()
        return [np.concatenate(answer) for answer in answers]

    @cached_property
    def _requests(self) -> list[openvino.InferRequest]:
        """One request per parallel image. Created with the first batch, because compilation takes time."""
        # Threads are not pinned, because they share the cores with the threads for decoding and writing.
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "ENABLE_CPU_PINNING": False}
        compiled = self._core.compile_model(self._model, "CPU", self._settings | streams)
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        return [compiled.create_infer_request() for _ in range(count)]


def has_bf16() -> bool:
    """Whether OpenVINO supports bf16 on this CPU."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
