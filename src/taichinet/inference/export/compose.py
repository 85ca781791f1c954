"""The complete graph: a network graph composed with pre- and post-processing, for ONNX or OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import compose

from taichinet.inference.export.graph import DISAGREEMENT, LESION, NETWORK_IMAGE
from taichinet.inference.export.processing import before_network, behind_network

if TYPE_CHECKING:
    import openvino


def whole_onnx(
    network: onnx.ModelProto, channels: int, size: int, threshold: float, notes: dict[str, str]
) -> onnx.ModelProto:
    """Compose the network graph with pre- and post-processing.

    Args:
        network: ONNX graph of the network.
        channels: Number of input channels of the network.
        size: Input resolution of the network in pixels.
        threshold: Probability threshold of the mask.
        notes: Metadata of the model.

    Returns:
        Model from uint8 `image` (H, W, 1 or 3) to uint8 `mask` (0 or 255) and float `probability`, both (H, W).
    """
    alone = onnx.ModelProto()
    alone.CopyFrom(network)
    if any(output.name == DISAGREEMENT for output in alone.graph.output):
        alone = onnx.utils.Extractor(alone).extract_model([NETWORK_IMAGE], [LESION])
    parts = (
        compose.add_prefix(before_network(channels, size), "before/", rename_inputs=False, rename_outputs=False),
        alone,
        compose.add_prefix(behind_network(size, threshold), "behind/", rename_inputs=False, rename_outputs=False),
    )
    for part in parts:
        part.ir_version = network.ir_version
        _one_opset(part, network)
    joined = compose.merge_models(parts[0], parts[1], io_map=[(NETWORK_IMAGE, NETWORK_IMAGE)])
    whole: onnx.ModelProto = compose.merge_models(
        joined, parts[2], io_map=[(LESION, LESION), ("native_size", "native_size")]
    )
    whole.producer_name = "taichinet"
    for key, value in notes.items():
        whole.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(whole)
    return whole


def _one_opset(part: onnx.ModelProto, like: onnx.ModelProto) -> None:
    """Set the operator sets of `part` to those of `like`: composed models must list the same operator sets."""
    versions = {entry.domain: entry.version for entry in like.opset_import} | {
        entry.domain: entry.version for entry in part.opset_import if entry.domain not in ("", "ai.onnx")
    }
    del part.opset_import[:]
    for domain, version in versions.items():
        part.opset_import.add(domain=domain, version=version)


def whole_openvino(network: openvino.Model, channels: int, size: int, threshold: float) -> openvino.Model:
    """Compose an OpenVINO model, float or int8, with pre- and post-processing. `network` is modified."""
    import openvino

    core = openvino.Core()
    before = core.read_model(before_network(channels, size).SerializeToString())
    behind = core.read_model(behind_network(size, threshold).SerializeToString())
    _connect(before.output(NETWORK_IMAGE), network.input(0))
    _connect(network.output(LESION), behind.input(LESION))
    _connect(before.output("native_size"), behind.input("native_size"))
    return openvino.Model(behind.get_results(), before.get_parameters(), "taichinet")


def _connect(output: openvino.Output, replaced: openvino.Output) -> None:
    """Connect all consumers of the parameter `replaced` to the source of the result `output`."""
    source = output.get_node().input_value(0) if output.get_node().get_type_name() == "Result" else output
    for target in replaced.get_target_inputs():
        target.replace_source_output(source)
