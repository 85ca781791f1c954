"""ONNX graph of the network with folded BatchNorm: image (B, C, S, S) -> lesion and, with two paths, disagreement."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout

import onnx
import torch

from taichinet.inference.runtimes.eager import InferenceWrapper, fold_batch_norms
from taichinet.models.upsampling import leave_upsampling_plain, transpose_upsampling
from taichinet.models.weights_folder import LoadedWeights

NETWORK_IMAGE, LESION, DISAGREEMENT = "network_image", "lesion", "disagreement"
OPSET = 20


def network_graph(loaded: LoadedWeights, transposed: bool = False) -> onnx.ModelProto:
    """Convert the network to a float32 ONNX graph.

    Args:
        loaded: Network and configuration.
        transposed: Whether to fuse upsampling with the following convolution. This is faster in OpenVINO, which has
            optimised transposed convolutions for every precision. In ONNX Runtime, they unfold their input and remain
            float in an int8 graph.

    Returns:
        Graph with dynamic batch size B. Channels C and size S are those of the weights; outputs are (B, 1, S, S).
    """
    folded = fold_batch_norms(loaded.network).cpu()
    network = transpose_upsampling(folded) if transposed else leave_upsampling_plain(folded)
    wrapper = InferenceWrapper(network, disagreement=True).eval()
    # Two images, because a batch size of one would be exported as a constant.
    example = torch.rand(2, loaded.channels, loaded.config.size, loaded.config.size)
    with torch.inference_mode():
        names = [LESION, DISAGREEMENT][: len(wrapper(example))]
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                wrapper,
                (example,),
                input_names=[NETWORK_IMAGE],
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model: onnx.ModelProto = program.model_proto
    return _without_traces(model)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the source paths and line numbers that the exporter stores for every node."""
    graph = model.graph
    nodes = [node for owner in (graph, *model.functions) for node in owner.node]
    for part in (model, graph, *nodes, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return model
