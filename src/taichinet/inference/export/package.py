"""The ONNX graph beside packaged weights, with which `predict` needs no torch, compared with plain PyTorch."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import WeightsError
from taichinet.inference.export.comparison import compare, find_cases
from taichinet.inference.export.graph import graph_of_file
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.eager import PLAIN, Eager, Tuned
from taichinet.inference.runtimes.onnx import OnnxRuntime
from taichinet.inference.runtimes.parity import (
    PACKAGED_GRAPH,
    PACKAGED_RECORD,
    ParityRecord,
    digest_graph,
    processor,
    write_record,
)
from taichinet.inference.runtimes.runtime import Runtime
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import WEIGHTS_FILE
from taichinet.storage.digest import digest_file

PHANTOMS = (8, 8, 0, 18)
"""Benign, malignant and normal phantoms, and their seed, on which the masks are compared: a few are enough, because
the graph has the tensors of the weights."""


def package_graph(folder: Path, trust_code: bool = False) -> ParityRecord:
    """Write the graph of the weights in `folder` and its parity record beside them.

    Args:
        folder: A weights folder that is not in use yet.
        trust_code: Whether the code of a network from outside the package may be executed, see `load_weights`.

    Returns:
        The record.

    Raises:
        WeightsError: The weights cannot be read, or the masks differ too much from those of plain PyTorch.
    """
    loaded = load_weights(folder, trust_code)
    graph = folder / PACKAGED_GRAPH
    onnx.save(graph_of_file(loaded, folder / WEIGHTS_FILE), graph)
    runtimes: dict[str, Runtime] = {"onnx": OnnxRuntime(graph, "float32"), "tuned": Tuned(loaded.network)}
    candidates = {name: Predictor(loaded, PLAIN, runtime=runtime).segment for name, runtime in runtimes.items()}
    with TemporaryDirectory() as temporary:
        phantoms = write_phantom_busi(Path(temporary) / "phantoms", *PHANTOMS)
        comparison = compare(
            Predictor(loaded, PLAIN, runtime=Eager(loaded.network)), candidates, find_cases(str(phantoms))
        )
    record = ParityRecord(
        runtime="onnx",
        precision="float32",
        graph=graph.name,
        weights_digest=digest_file(folder / WEIGHTS_FILE),
        processor=processor(),
        parity=comparison.parity["onnx"],
        seconds=comparison.seconds["onnx"],
        tuned_seconds=comparison.seconds["tuned"],
        plain_seconds=comparison.seconds["plain"],
        graph_digest=digest_graph([graph]),
    )
    failures = record.parity.failures(record.precision)
    if failures:
        raise WeightsError(
            f"The ONNX graph of the weights cannot be packaged: {'; '.join(failures)}. Give --no-graph to package the "
            "weights without it."
        )
    write_record(record, folder / PACKAGED_RECORD)
    return record
