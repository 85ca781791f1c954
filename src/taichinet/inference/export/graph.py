"""The network at its own size as an ONNX graph, BatchNorm folded: image (B, C, S, S) -> lesion (, disagreement)."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout

import onnx
import torch

from taichinet.inference.runtimes.answers import Answers
from taichinet.inference.runtimes.tuned import fold_batch_norms
from taichinet.models.upsampling import leave_upsampling_plain, transpose_upsampling
from taichinet.models.weights import LoadedWeights

NETWORK_IMAGE, LESION, DISAGREEMENT = "network_image", "lesion", "disagreement"
OPSET = 20


def network_graph(loaded: LoadedWeights, transposed: bool = False) -> onnx.ModelProto:
    """Float32; every answer float (B, 1, S, S). The batch B is free, C and S are those of the weights.

    `transposed` merges upsampling with the convolution behind it: right where transposed convolutions are tuned, as
    they are in OpenVINO for every number format. ONNX Runtime's unfold their input and stay float in an int8 graph.
    """
    folded = fold_batch_norms(loaded.network).cpu()
    network = transpose_upsampling(folded) if transposed else leave_upsampling_plain(folded)
    answers = Answers(network, disagreement=True).eval()
    # Two images: a batch of one would be taken for a constant.
    example = torch.rand(2, loaded.channels, loaded.config.size, loaded.config.size)
    with torch.inference_mode():
        names = [LESION, DISAGREEMENT][: len(answers(example))]
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                answers,
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
        raise RuntimeError("torch.onnx.export returned no program, though it does so always with dynamo=True")
    model: onnx.ModelProto = program.model_proto
    return _without_traces(model)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` without what the exporter notes of this machine: the paths and lines of the source of every node."""
    graph = model.graph
    nodes = [node for owner in (graph, *model.functions) for node in owner.node]
    for part in (model, graph, *nodes, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return model
