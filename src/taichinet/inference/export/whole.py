"""The whole file: a network-size graph between its surroundings, as ONNX or as OpenVINO's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import compose

from taichinet.inference.export.graph import DISAGREEMENT, LESION, NETWORK_IMAGE
from taichinet.inference.export.surroundings import before_network, behind_network

if TYPE_CHECKING:
    import openvino


def whole_onnx(
    network: onnx.ModelProto, channels: int, size: int, threshold: float, notes: dict[str, str]
) -> onnx.ModelProto:
    """uint8 `image` (H, W, 1 or 3) -> uint8 `mask` and float `probability` (H, W); `notes` become its metadata."""
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
    """Every part must name the same operator sets, also those that it does not use."""
    versions = {entry.domain: entry.version for entry in like.opset_import} | {
        entry.domain: entry.version for entry in part.opset_import if entry.domain not in ("", "ai.onnx")
    }
    del part.opset_import[:]
    for domain, version in versions.items():
        part.opset_import.add(domain=domain, version=version)


def whole_openvino(network: openvino.Model, channels: int, size: int, threshold: float) -> openvino.Model:
    """The same around OpenVINO's model of the network, float or int8; `network` is taken apart."""
    import openvino

    core = openvino.Core()
    before = core.read_model(before_network(channels, size).SerializeToString())
    behind = core.read_model(behind_network(size, threshold).SerializeToString())
    _connect(before.output(NETWORK_IMAGE), network.input(0))
    _connect(network.output(LESION), behind.input(LESION))
    _connect(before.output("native_size"), behind.input("native_size"))
    return openvino.Model(behind.get_results(), before.get_parameters(), "taichinet")


def _connect(output: openvino.Output, replaced: openvino.Output) -> None:
    """Feed whatever read the parameter `replaced` from where the result `output` comes from."""
    source = output.get_node().input_value(0) if output.get_node().get_type_name() == "Result" else output
    for target in replaced.get_target_inputs():
        target.replace_source_output(source)
