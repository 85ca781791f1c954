"""Selection of the runtime: the fastest one that was validated for these weights on this CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from taichinet.errors import SettingError, WeightsError, unknown_name
from taichinet.inference.runtimes.catalogue import AUTO, RUNTIMES
from taichinet.inference.runtimes.parity import (
    PACKAGED_GRAPH,
    PACKAGED_RECORD,
    RUNTIMES_FOLDER,
    ParityRecord,
    digest_graph,
    processor,
    read_record,
)
from taichinet.inference.runtimes.runtime import Runtime
from taichinet.models.weights_folder import WEIGHTS_FILE, LoadedWeights
from taichinet.storage.digest import digest_file
from taichinet.training.device_choice import AUTO_DEVICE, refuse_unknown_device


def open_runtime(
    choice: str,
    loaded: LoadedWeights,
    folder: Path,
    disagreement: bool = True,
    accelerated: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Runtime:
    """Open a runtime for a network.

    `auto` is the fastest validated runtime that is installed and was measured to be faster than tuned PyTorch,
    otherwise the graph that was packaged with the weights, otherwise tuned PyTorch. With a GPU, it is always tuned
    PyTorch. Runtimes with graph files (onnx and openvino) need a valid parity record of `taichinet export`, or the
    graph of `taichinet package-weights`.

    Args:
        choice: "auto" or the name of a registered runtime: eager, tuned, onnx, openvino.
        loaded: Network and configuration.
        folder: The weights folder.
        disagreement: Whether to compute the disagreement of the two paths.
        accelerated: Whether there is a GPU.
        report: Called with one message for each graph that cannot be used, with the reason.

    Returns:
        The runtime.

    Raises:
        SettingError: The name is unknown, or its package is not installed.
        WeightsError: No graph for the requested runtime can be used. The message has each reason.
    """
    if choice not in (AUTO, *RUNTIMES):
        raise unknown_name("runtime", choice, (AUTO, *RUNTIMES))
    if choice != AUTO and RUNTIMES[choice].suffix:
        return _open(_fastest_graph(choice, folder), loaded, disagreement)
    if choice == AUTO and not accelerated:
        faster = [graph for graph in _exported(folder, report) if graph.record.seconds < graph.record.tuned_seconds]
        for graph in (*faster, *_packaged(folder, report)):
            if not RUNTIMES[graph.record.runtime].missing_packages():
                try:
                    return _open(graph, loaded, disagreement)
                except WeightsError as error:  # use the next one, which is slower
                    report(str(error))
    name = "tuned" if choice == AUTO else choice
    if RUNTIMES[name].missing_packages():
        raise _without_package(name, folder, choice)
    return RUNTIMES[name].open(loaded, folder, "float32", disagreement)


def device_of_runtime(choice: str, device: str) -> str:
    """The device that a runtime uses: `device`, or cpu instead of auto for a runtime that computes on the CPU only.

    Args:
        choice: "auto" or the name of a runtime.
        device: As given to `--device`.

    Raises:
        SettingError: The runtime is unknown, or computes on the CPU only and `device` is another device.
    """
    if choice not in (AUTO, *RUNTIMES):
        raise unknown_name("runtime", choice, (AUTO, *RUNTIMES))
    refuse_unknown_device(device)
    if choice == AUTO or RUNTIMES[choice].uses_device:
        return device
    if device not in (AUTO_DEVICE, "cpu"):
        others = " or ".join(name for name, spec in RUNTIMES.items() if spec.uses_device)
        raise SettingError(
            f"--device {device} cannot be used with the runtime {choice}, which computes on the CPU. Give --device "
            f"cpu, or to `taichinet predict` --runtime {others}."
        )
    return "cpu"


def validated_records(folder: Path, report: Callable[[str], None] = lambda line: None) -> list[ParityRecord]:
    """Read the parity records of `taichinet export` that are valid for these weights on this CPU.

    Args:
        folder: The weights folder, or the weights file in it.
        report: Called with one message for each record that cannot be used, with the reason.

    Returns:
        Valid records, in the order of their run time relative to tuned PyTorch, fastest first.
    """
    return [graph.record for graph in _exported(folder, report)]


class _Graph(NamedTuple):
    """A graph file that may be used, and its parity record."""

    file: Path
    record: ParityRecord


def _exported(folder: Path, report: Callable[[str], None]) -> list[_Graph]:
    """The graphs that `taichinet export` wrote and verified on this processor, fastest first."""
    files = sorted((_weights_folder(folder) / RUNTIMES_FOLDER).glob("*.json"))
    graphs = _usable(files, folder, report, f"taichinet export {folder}")
    return sorted(graphs, key=lambda graph: graph.record.seconds / graph.record.tuned_seconds)


def _packaged(folder: Path, report: Callable[[str], None]) -> list[_Graph]:
    """The graph beside the weights, if there is one. It is used on every processor."""
    file = _weights_folder(folder) / PACKAGED_RECORD
    return _usable([file], folder, report, "taichinet package-weights") if file.is_file() else []


def _weights_folder(path: Path) -> Path:
    return path.parent if path.name == WEIGHTS_FILE else path


def _usable(files: Sequence[Path], folder: Path, report: Callable[[str], None], remedy: str) -> list[_Graph]:
    if not files:
        return []
    digest = digest_file(_weights_folder(folder) / WEIGHTS_FILE)
    valid = []
    for file in files:
        try:
            record = read_record(file)
        except WeightsError as error:
            report(str(error))
            continue
        reason = _reason_not_to_use(record, file, digest)
        if reason:
            report(f"The graph of {file} is not used: {reason}. Write it again: {remedy}.")
        else:
            valid.append(_Graph(file.parent / record.graph, record))
    return valid


def _reason_not_to_use(record: ParityRecord, file: Path, weights_digest: str) -> str | None:
    graph, packaged = file.parent / record.graph, file.name == PACKAGED_RECORD
    try:
        spec = RUNTIMES.get(record.runtime)
        if spec is None or not spec.suffix:
            return f"there is no graph for the runtime {record.runtime}"
        if not record.holds:
            return "; ".join(record.parity.failures(record.precision))
        if record.weights_digest != weights_digest:
            return "it was exported from other weights"
        if not packaged and record.processor != processor():
            return f"it was measured on another processor ({record.processor})"
        if packaged and record.graph != PACKAGED_GRAPH:
            return f"its graph must be {PACKAGED_GRAPH}, and not {record.graph}"
        if not packaged and not graph.resolve().is_relative_to(file.parent.resolve()):
            return f"its path {record.graph} is outside of {file.parent}"
        if not record.graph_digest:
            return "the record has no digest of the graph, so the graph is unverified"
        if record.graph_digest != digest_graph(spec.files(graph)):
            return f"the content of {record.graph} is not the one that was exported"
    except (OSError, RuntimeError, ValueError) as error:  # missing file, symbolic link loop, name with a null byte
        return f"{record.graph} cannot be read ({error})"
    return None


def _fastest_graph(name: str, folder: Path) -> _Graph:
    if RUNTIMES[name].missing_packages():
        raise _without_package(name, folder, name)
    reasons: list[str] = []
    graphs = [*_exported(folder, reasons.append), *_packaged(folder, reasons.append)]
    of_runtime = [graph for graph in graphs if graph.record.runtime == name]
    if not of_runtime:
        raise WeightsError(
            f"No graph of {name} was verified for the weights in {folder} on this processor. Write and verify one: "
            f"taichinet export {folder} --format {name} --images DATA -o FILE."
            + "".join(f"\n  - {reason}" for reason in reasons)
        )
    return of_runtime[0]


def _without_package(name: str, folder: Path, choice: str) -> SettingError:
    """The error for a runtime with a missing package; `choice` is auto if no graph can be used."""
    spec = RUNTIMES[name]
    needs = f"needs the package {spec.missing_packages()[0]}: pip install 'taichinet[{spec.extra}]'"
    if choice != AUTO:
        return SettingError(f"The runtime {name} {needs}.")
    return SettingError(
        f"There is no graph for the weights in {folder} that can be used here, and without one the prediction {needs}. "
        "Or write a graph where it is installed, with `taichinet package-weights` or `taichinet export`."
    )


def _open(graph: _Graph, loaded: LoadedWeights, disagreement: bool) -> Runtime:
    record = graph.record
    return RUNTIMES[record.runtime].open(loaded, graph.file, record.precision, disagreement)
