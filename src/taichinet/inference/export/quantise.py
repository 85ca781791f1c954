"""Post-training quantisation to int8 with calibration images: ONNX Runtime's QDQ and OpenVINO's NNCF.

Weights are quantised per output channel. The first layer, the output convolution and the head are not quantised: they
have a low cost and a large influence on the output. CPUs without int8 dot products (VNNI, AMX) add two products in 16
bits, which can saturate; the weights have seven bits on these CPUs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taichinet.inference.export.graph import NETWORK_IMAGE
from taichinet.inference.runtimes.parity import has_int8_dot_products
from taichinet.storage.atomic import temporary_folder

if TYPE_CHECKING:
    import openvino

FEW_CHANNELS = 3
"""Convolutions with at most this number of input or output channels are not quantised."""

Images = Sequence[NDArray[np.uint8]]


def onnx_int8(graph: onnx.ModelProto, images: Images, output: Path) -> onnx.ModelProto:
    """Quantise a network graph with ONNX Runtime, using calibration images, each uint8 (C, S, S).

    The temporary files that ONNX Runtime needs are written to the folder `output` and deleted afterwards.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._left, None)
            return None if image is None else {NETWORK_IMAGE: as_input(image)}

    with temporary_folder(output) as folder:
        plain, ready, done = (folder / f"{name}.onnx" for name in ("plain", "ready", "done"))
        onnx.save(graph, plain)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            prepared = onnx.load(ready)
            quantize_static(
                ready,
                done,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MaxPool", "Resize", "Concat"],
                per_channel=True,
                reduce_range=not has_int8_dot_products(),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_delicate_onnx(prepared),
            )
        finally:
            root.setLevel(level)
        quantised: onnx.ModelProto = onnx.load(done)
    return quantised


def openvino_int8(model: openvino.Model, images: Images) -> openvino.Model:
    """Quantise a network graph with NNCF, using calibration images, each uint8 (C, S, S)."""
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    overflow = nncf.OverflowFix.DISABLE if has_int8_dot_products() else nncf.OverflowFix.ENABLE
    return nncf.quantize(
        model,
        nncf.Dataset(list(images), as_input),
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=_delicate_openvino(model), validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
    )


def as_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert an image to network input: uint8 (C, S, S) -> float32 (1, C, S, S) in [0, 1]."""
    return image[None].astype(np.float32) / np.float32(255)


def _delicate_onnx(model: onnx.ModelProto) -> list[str]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return [node.name for node in convolutions if min(shapes.get(node.input[1], (0, 0))[:2]) <= FEW_CHANNELS]


def _delicate_openvino(model: openvino.Model) -> list[str]:
    operations: list[Any] = [op for op in model.get_ops() if op.get_type_name() == "Convolution"]
    return [op.get_friendly_name() for op in operations if min(op.input(1).get_shape()[:2]) <= FEW_CHANNELS]
