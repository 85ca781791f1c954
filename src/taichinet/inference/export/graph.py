"""ONNX graph of the network with folded BatchNorm: image (B, C, S, S) -> lesion and, with two paths, disagreement."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto
from torch import nn

from taichinet.inference.runtimes.eager import InferenceWrapper, fold_batch_norms
from taichinet.models.upsampling import leave_upsampling_plain, transpose_upsampling
from taichinet.models.weights_folder import LoadedWeights
from taichinet.storage.tensors import stored_tensors

NETWORK_IMAGE, LESION, DISAGREEMENT = "network_image", "lesion", "disagreement"
OPSET = 20
_PREFIX = "network."  # of the tensors of a network in `InferenceWrapper`


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
    return _converted(transpose_upsampling(folded) if transposed else leave_upsampling_plain(folded), loaded)


def graph_of_file(loaded: LoadedWeights, file: Path) -> onnx.ModelProto:
    """Convert the network to an ONNX graph whose tensors are those of a weights file, which must be beside the graph.

    The graph has no weights of its own: it cannot differ from the file. Numbers stored as float16 are converted to
    float32, in which the graph computes. BatchNorm is not folded; ONNX Runtime does so when it opens the graph.

    Args:
        loaded: Network and configuration, loaded from `file`.
        file: The weights file, model.safetensors.

    Returns:
        Graph as of `network_graph`.
    """
    graph = _converted(leave_upsampling_plain(copy.deepcopy(loaded.network).cpu().eval()), loaded, optimize=False)
    onnxscript.optimizer.fold_constants(graph)
    onnxscript.optimizer.remove_unused_nodes(graph)
    stored, values = stored_tensors(file), loaded.network.state_dict()
    casts = []
    for tensor in graph.graph.initializer:
        name = tensor.name.removeprefix(_PREFIX)
        place = stored.get(name)
        if place is None or not np.array_equal(onnx.numpy_helper.to_array(tensor), values[name].cpu().numpy()):
            continue  # a constant of the code
        if place.dtype == "F16":
            casts.append(onnx.helper.make_node("Cast", [f"{tensor.name}.stored"], [tensor.name], to=TensorProto.FLOAT))
            tensor.name, tensor.data_type = f"{tensor.name}.stored", TensorProto.FLOAT16
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": file.name, "offset": place.offset, "length": place.length}.items():
            tensor.external_data.add(key=key, value=str(value))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def _converted(network: nn.Module, loaded: LoadedWeights, optimize: bool = True) -> onnx.ModelProto:
    """The ONNX graph of `network`, which computes as that of `loaded`; `optimize` folds BatchNorm, among others."""
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
                optimize=optimize,
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
