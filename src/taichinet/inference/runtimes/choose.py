"""Selection of the runtime: the fastest one that was validated for these weights on this CPU."""

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
    otherwise tuned PyTorch. With a GPU, it is always tuned PyTorch. Runtimes with graph files (onnx and openvino) need
    a valid parity record of `taichinet export`.

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
        return _open(_fastest_record(choice, folder), loaded, folder, disagreement)
    if choice == AUTO and not accelerated:
        for record in validated_records(folder, report):
            if record.seconds < record.tuned_seconds and not RUNTIMES[record.runtime].missing_packages():
                try:
                    return _open(record, loaded, folder, disagreement)
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
    runtimes, graph = (folder / RUNTIMES_FOLDER).resolve(), folder / RUNTIMES_FOLDER / record.graph
    try:
        spec = RUNTIMES.get(record.runtime)
        if spec is None or not spec.suffix:
            return f"there is no graph for the runtime {record.runtime}"
        if not record.holds:
            return "; ".join(record.parity.failures(record.precision))
        if record.weights_digest != weights_digest:
            return "it was exported from other weights"
        if record.processor != processor():
            return f"it was measured on another processor ({record.processor})"
        if not graph.resolve().is_relative_to(runtimes):
            return f"its path {record.graph} is outside of {folder / RUNTIMES_FOLDER}"
        if not record.graph_digest:
            return "the record has no digest of the graph, so the graph is unverified"
        if record.graph_digest != digest_graph(spec.files(graph)):
            return f"the content of {record.graph} is not the one that was exported"
    except (OSError, RuntimeError, ValueError) as error:  # missing file, symbolic link loop, name with a null byte
        return f"{record.graph} cannot be read ({error})"
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
    folder = folder.parent if folder.name == WEIGHTS_FILE else folder
    graph = folder / RUNTIMES_FOLDER / record.graph
    return RUNTIMES[record.runtime].open(loaded, graph, record.precision, disagreement)
