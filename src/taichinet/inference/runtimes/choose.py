"""Selection of the runtime: the one that the user chose or recorded for these weights, otherwise the default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from taichinet.errors import SettingError, WeightsError, unknown_name
from taichinet.inference.runtimes.catalogue import AUTO, RUNTIMES
from taichinet.inference.runtimes.parity import (
    RUNTIMES_FOLDER,
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

    `auto` is tuned PyTorch, unless there is a record of `taichinet benchmark` for these weights on this processor,
    which names the fastest runtime. With a GPU, it is always tuned PyTorch. Runtimes with graph files (onnx and
    openvino) that are given by name need a valid parity record of `taichinet export`.

    Args:
        choice: "auto" or the name of a registered runtime: eager, tuned, onnx, openvino.
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
    folder = folder.parent if folder.name == WEIGHTS_FILE else folder
    if choice != AUTO and RUNTIMES[choice].suffix:
        runtime, reason = _open(_fastest_record(choice, folder), loaded, folder, disagreement), "as given"
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
    """Tuned PyTorch; without torch, the first graph that can be used, in a fixed order that ignores its speed."""
    if not RUNTIMES["tuned"].missing_packages():
        return RUNTIMES["tuned"].open(loaded, folder, "float32", disagreement)
    records = validated_records(folder, report)
    for record in sorted(records, key=lambda record: (record.precision != "float32", record.runtime)):
        if not RUNTIMES[record.runtime].missing_packages():
            try:
                return _open(record, loaded, folder, disagreement)
            except WeightsError as error:
                report(str(error))
    raise _without_package("tuned", folder, AUTO)


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
    path = folder / RUNTIMES_FOLDER / one.graph if one.graph else folder
    runtime = RUNTIMES[one.runtime].open(loaded, path, one.precision, disagreement)
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
    """Read the parity records in a weights folder that are valid for these weights on this CPU.

    Args:
        folder: The weights folder, or the weights file in it.
        report: Called with one message for each record that cannot be used, with the reason.

    Returns:
        Valid records, in the order of their run time relative to tuned PyTorch, fastest first.
    """
    folder = folder.parent if folder.name == WEIGHTS_FILE else folder
    files = sorted((folder / RUNTIMES_FOLDER).glob("*.json"))
    if not files:
        return []
    digest = digest_file(folder / WEIGHTS_FILE)
    valid = []
    for file in files:
        try:
            record = read_record(file)
        except WeightsError as error:
            report(str(error))
            continue
        reason = _reason_not_to_use(record, folder, digest)
        if reason:
            report(f"The graph of {file} is not used: {reason}. Write it again: taichinet export {folder}.")
        else:
            valid.append(record)
    return sorted(valid, key=lambda record: record.seconds / record.tuned_seconds)


def _reason_not_to_use(record: ParityRecord, folder: Path, weights_digest: str) -> str | None:
    if not record.holds:
        return "; ".join(record.parity.failures(record.precision))
    if record.weights_digest != weights_digest:
        return "it was exported from other weights"
    if record.processor != processor():
        return f"it was measured on another processor ({record.processor})"
    return fault_of_graph(folder, record.runtime, record.graph, record.graph_digest)


def fault_of_graph(folder: Path, runtime: str, name: str, digest: str) -> str | None:
    """Why the graph `name` in a weights folder cannot be used by `runtime`; None if it has the expected `digest`."""
    runtimes, graph = (folder / RUNTIMES_FOLDER).resolve(), folder / RUNTIMES_FOLDER / name
    try:
        spec = RUNTIMES.get(runtime)
        if spec is None or not spec.suffix:
            return f"there is no graph for the runtime {runtime}"
        if not graph.resolve().is_relative_to(runtimes):
            return f"its path {name} is outside of {folder / RUNTIMES_FOLDER}"
        if not digest:
            return "the record has no digest of the graph, so the graph is unverified"
        if digest != digest_graph(spec.files(graph)):
            return f"the content of {name} is not the one that was exported"
    except (OSError, RuntimeError, ValueError) as error:  # missing file, symbolic link loop, name with a null byte
        return f"{name} cannot be read ({error})"
    return None


def _fastest_record(name: str, folder: Path) -> ParityRecord:
    if RUNTIMES[name].missing_packages():
        raise _without_package(name, folder, name)
    reasons: list[str] = []
    records = [record for record in validated_records(folder, reasons.append) if record.runtime == name]
    if not records:
        raise WeightsError(
            f"No graph of {name} was verified for the weights in {folder} on this processor. Write and verify one: "
            f"taichinet export {folder} --format {name} --images DATA -o FILE."
            + "".join(f"\n  - {reason}" for reason in reasons)
        )
    return records[0]


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


def _open(record: ParityRecord, loaded: LoadedWeights, folder: Path, disagreement: bool) -> Runtime:
    graph = folder / RUNTIMES_FOLDER / record.graph
    return RUNTIMES[record.runtime].open(loaded, graph, record.precision, disagreement)
