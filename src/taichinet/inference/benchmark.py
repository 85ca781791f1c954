"""Measure the runtimes that can run given weights on this machine, after comparing their masks with plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from taichinet.datasets.phantoms.phantom import make_phantom
from taichinet.errors import TaiChiNetError, WeightsError
from taichinet.inference.export.comparison import Case, compare, find_cases, spread
from taichinet.inference.predictor import Predictor
from taichinet.inference.provenance import weights_name
from taichinet.inference.runtimes.catalogue import RUNTIMES
from taichinet.inference.runtimes.choose import fault_of_graph, path_of_graph
from taichinet.inference.runtimes.eager import PLAIN, Eager, Tuned
from taichinet.inference.runtimes.graph_folder import graph_file, graph_folder
from taichinet.inference.runtimes.parity import PACKAGED_RECORD, processor, read_record
from taichinet.inference.runtimes.runtime import Runtime
from taichinet.inference.runtimes.user_record import MeasuredRuntime, UserRecord
from taichinet.models.upsampling import processor_has_bf16
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import WEIGHTS_FILE, LoadedWeights
from taichinet.storage.digest import digest_file
from taichinet.training.device import choose_device_config
from taichinet.version import __version__

PHANTOMS = 20
"""Number of simulated images that are used if none are given."""


@dataclass(frozen=True)
class _Candidate:
    runtime: Runtime
    graph: str = ""
    graph_digest: str = ""


def measure_runtimes(
    folder: Path,
    images: str | None = None,
    most_images: int = 50,
    trust_code: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> UserRecord:
    """Compare and measure plain and tuned PyTorch, the packaged graph and those of `taichinet export`, on the CPU.

    Args:
        folder: A weights folder.
        images: Data set or folder of images, see `find_cases`; None for simulated phantoms.
        most_images: Maximum number of images.
        trust_code: Whether the code of a network from outside the package may be executed, see `load_weights`.
        report: Called with one message for each graph that cannot be measured, with the reason.

    Returns:
        The record, which is not written.

    Raises:
        WeightsError: The weights cannot be read.
        DataError: The images cannot be read.
    """
    loaded = load_weights(folder, trust_code)
    plain = Predictor(loaded, PLAIN, runtime=Eager(loaded.network))
    digest = digest_file(folder / WEIGHTS_FILE)
    candidates = {"eager": _Candidate(plain.runtime), "tuned": _Candidate(Tuned(loaded.network))}
    if processor_has_bf16():
        candidates["tuned bf16"] = _Candidate(Tuned(loaded.network, choose_device_config("bf16")))
    candidates |= dict(_stored_graphs(loaded, folder, digest, report))
    with _cases(images, most_images) as cases:
        predictors = {name: Predictor(loaded, PLAIN, runtime=one.runtime) for name, one in candidates.items()}
        comparison = compare(plain, {name: predictor.segment for name, predictor in predictors.items()}, cases)
    measured = [
        MeasuredRuntime(
            runtime=one.runtime.description.name,
            precision=one.runtime.description.precision,
            graph=one.graph,
            graph_digest=one.graph_digest,
            seconds=comparison.seconds[name],
            parity=comparison.parity[name],
            failures=tuple(comparison.parity[name].failures(one.runtime.description.precision)),
        )
        for name, one in candidates.items()
    ]
    return UserRecord(
        date=datetime.now(UTC).date().isoformat(),
        version=__version__,
        weights=weights_name(loaded),
        weights_digest=digest,
        processor=processor(),
        images=f"{len(cases)} {'simulated phantoms' if images is None else 'images'}",
        measured=tuple(sorted(measured, key=lambda one: one.seconds)),
    )


def _stored_graphs(
    loaded: LoadedWeights, folder: Path, digest: str, report: Callable[[str], None]
) -> Iterator[tuple[str, _Candidate]]:
    """The packaged graph and those of `taichinet export` that can be opened, by the name of their record."""
    packaged = [folder / PACKAGED_RECORD] if (folder / PACKAGED_RECORD).is_file() else []
    for file in (*packaged, *sorted(graph_folder(folder).glob("*.json"))):
        try:
            record = read_record(file)
            graph = path_of_graph(record, file)
            fault = fault_of_graph(folder, record.runtime, graph, record.graph_digest)
            if record.weights_digest != digest:
                fault = "it was exported from other weights"
            if fault:
                raise WeightsError(f"{fault}. Write it again: taichinet export {folder}")
            spec = RUNTIMES[record.runtime]
            missing = spec.missing_packages()
            if missing:
                raise WeightsError(f"the package {missing[0]} is not installed: pip install 'taichinet[export]'")
            runtime = spec.open(loaded, graph_file(folder, graph), record.precision, True)
        except TaiChiNetError as error:
            report(f"The graph of {file} is not measured: {error}.")
            continue
        yield file.name, _Candidate(runtime, graph, record.graph_digest)


@contextmanager
def _cases(images: str | None, most: int) -> Iterator[Sequence[Case]]:
    """The images to compare and measure on."""
    if images is not None:
        yield spread(find_cases(images), most)
        return
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        for number in range(PHANTOMS):
            label = ("benign", "malignant")[number % 2]
            Image.fromarray(make_phantom(rng, label).image).save(Path(folder, f"{number:02}.png"))  # type: ignore[arg-type]
        yield spread(find_cases(folder), most)
