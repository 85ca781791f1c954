"""Selection of the runtime: the one that the user chose or recorded for these weights, otherwise the default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from taichinet.errors import SettingError, WeightsError, unknown_name
from taichinet.inference.runtimes.catalogue import AUTO, RUNTIMES
from taichinet.inference.runtimes.graph_folder import RUNTIMES_FOLDER, graph_file, graph_folder
from taichinet.inference.runtimes.parity import (
    PACKAGED_GRAPH,
    PACKAGED_RECORD,
    ParityRecord,
    digest_graph,
    processor,
    read_record,
)
from taichinet.inference.runtimes.runtime import Runtime
from taichinet.inference.runtimes.user_record import read_user_record, record_file
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

    `auto` is the default runtime of the weights, unless there is a record of `taichinet benchmark` for these weights on
    this processor, which names the fastest one. The default is the graph that was packaged with the weights, otherwise
    tuned PyTorch in float32; with a GPU, it is always tuned PyTorch, in bf16 if the GPU supports it. Runtimes with
    graph files (onnx and openvino) that are given by name need a valid parity record of `taichinet export`, or the
    graph of `taichinet package-weights`.

    Args:
        choice: "auto" or the name of a registered runtime: eager, tuned, tuned-bf16, onnx, openvino.
        loaded: Network and configuration.
        folder: The weights folder.
        disagreement: Whether to compute the disagreement of the two paths.
        accelerated: Whether there is a GPU.
        report: Called with the runtime and why it is used, and before with the reason not to follow a record.

    Returns:
        The runtime.

    Raises:
        SettingError: The name is unknown, or its package is not installed.
        WeightsError: No graph for the requested runtime can be used. The message has each reason.
    """
    if choice not in (AUTO, *RUNTIMES):
        raise unknown_name("runtime", choice, (AUTO, *RUNTIMES))
    folder = _weights_folder(folder)
    if choice != AUTO and RUNTIMES[choice].suffix:
        runtime, reason = _open(_fastest_graph(choice, folder), loaded, disagreement), "as given"
    elif choice == AUTO and not accelerated:
        runtime, reason = _open_automatic(loaded, folder, disagreement, report)
    else:
        name, reason = ("tuned", "the default with a GPU") if choice == AUTO else (choice, "as given")
        if RUNTIMES[name].missing_packages():
            raise _without_package(name, folder, choice)
        runtime = RUNTIMES[name].open(loaded, folder, "float32", disagreement)
    report(f"Runtime: {runtime.description}, {reason}.")
    return runtime


def _open_automatic(
    loaded: LoadedWeights, folder: Path, disagreement: bool, report: Callable[[str], None]
) -> tuple[Runtime, str]:
    """The runtime of the user's record, otherwise the default; and why."""
    reason = "the default for these weights"
    try:
        recorded = _open_recorded(loaded, folder, disagreement)
        if recorded is not None:
            return recorded
    except (SettingError, WeightsError) as error:
        report(str(error))
        reason = "the default, since the record is not followed"
    return _open_default(loaded, folder, disagreement, report), reason


def _open_default(loaded: LoadedWeights, folder: Path, disagreement: bool, report: Callable[[str], None]) -> Runtime:
    """The packaged graph, otherwise tuned PyTorch; without torch, an exported graph, in an order without its speed."""
    graphs = _packaged(folder, report)
    with_torch = not RUNTIMES["tuned"].missing_packages()
    if not with_torch:
        exported = _exported(folder, report)
        graphs += sorted(exported, key=lambda graph: (graph.record.precision != "float32", graph.record.runtime))
    for graph in graphs:
        if not RUNTIMES[graph.record.runtime].missing_packages():
            try:
                return _open(graph, loaded, disagreement)
            except WeightsError as error:  # use the next one
                report(str(error))
    if not with_torch:
        raise _without_package("tuned", folder, AUTO)
    return RUNTIMES["tuned"].open(loaded, folder, "float32", disagreement)


def _open_recorded(loaded: LoadedWeights, folder: Path, disagreement: bool) -> tuple[Runtime, str] | None:
    """The runtime of the user's record, and where it is recorded; None if there is no record."""
    digest = digest_file(folder / WEIGHTS_FILE)
    record = read_user_record(digest)
    if record is None:
        return None
    file, one = record_file(digest), record.fastest
    if one.runtime not in RUNTIMES:
        fault = "there is no such runtime"
    elif missing := RUNTIMES[one.runtime].missing_packages():
        fault = f"the package {missing[0]} is not installed"
    else:
        fault = (fault_of_graph(folder, one.runtime, one.graph, one.graph_digest) if one.graph else None) or ""
    if fault:
        raise WeightsError(
            f"The record of {record.date} in {file} names the runtime {one.runtime}, which cannot be used: {fault}. "
            "Measure again with `taichinet benchmark`, or delete the record."
        )
    runtime = RUNTIMES[one.runtime].open(loaded, graph_file(folder, one.graph), one.precision, disagreement)
    return runtime, f"following the record of {record.date} in {file}"


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
    files = sorted(graph_folder(_weights_folder(folder)).glob("*.json"))
    graphs = _usable(files, folder, report, f"taichinet export {folder}")
    return sorted(graphs, key=lambda graph: graph.record.seconds / graph.record.tuned_seconds)


def _packaged(folder: Path, report: Callable[[str], None]) -> list[_Graph]:
    """The graph beside the weights, if there is one. It is used on every processor."""
    file, graph = (_weights_folder(folder) / name for name in (PACKAGED_RECORD, PACKAGED_GRAPH))
    if not file.is_file():
        if graph.is_file():
            report(f"The graph {graph} is not used: {file.name} is missing. Write both: taichinet package-weights.")
        return []
    return _usable([file], folder, report, "taichinet package-weights")


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
        reason = _reason_not_to_use(record, file, _weights_folder(folder), digest)
        if reason:
            report(f"The graph of {file} is not used: {reason}. Write it again: {remedy}.")
        else:
            valid.append(_Graph(file.parent / record.graph, record))
    return valid


def _reason_not_to_use(record: ParityRecord, file: Path, folder: Path, weights_digest: str) -> str | None:
    packaged = file.name == PACKAGED_RECORD
    if not record.holds:
        return "; ".join(record.parity.failures(record.precision))
    if record.weights_digest != weights_digest:
        return "it was exported from other weights"
    if not packaged and record.processor != processor():
        return f"it was measured on another processor ({record.processor})"
    if packaged and record.graph != PACKAGED_GRAPH:
        return f"its graph must be {PACKAGED_GRAPH}, and not {record.graph}"
    return fault_of_graph(folder, record.runtime, path_of_graph(record, file), record.graph_digest)


def path_of_graph(record: ParityRecord, file: Path) -> str:
    """The path of the graph whose record is `file`, as `graph_file` expects it."""
    return record.graph if file.name == PACKAGED_RECORD else f"{RUNTIMES_FOLDER}/{record.graph}"


def fault_of_graph(folder: Path, runtime: str, name: str, digest: str) -> str | None:
    """Why a graph cannot be used; None if it has the expected content.

    Args:
        folder: The weights folder.
        runtime: Name of the runtime.
        name: Path of the graph, as `graph_file` expects it.
        digest: Its expected digest (`digest_graph`).
    """
    try:
        spec = RUNTIMES.get(runtime)
        if spec is None or not spec.suffix:
            return f"there is no graph for the runtime {runtime}"
        graph, stored = graph_file(folder, name), graph_folder(folder)
        if name != PACKAGED_GRAPH and not graph.resolve().is_relative_to(stored.resolve()):
            return f"its path {name} is outside of {stored}"
        if not digest:
            return "the record has no digest of the graph, so the graph is unverified"
        if digest != digest_graph(spec.files(graph)):
            return f"the content of {name} is not the one that was exported"
    except (OSError, RuntimeError, ValueError) as error:  # missing file, symbolic link loop, name with a null byte
        return f"{name} cannot be read ({error})"
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
