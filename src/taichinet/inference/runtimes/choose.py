"""Which runtime a prediction uses: the fastest whose parity was proven for these weights on this processor."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from taichinet.errors import SettingError, WeightsError, unknown_name
from taichinet.inference.runtimes.eager import Eager
from taichinet.inference.runtimes.parity import (
    RUNTIMES_FOLDER,
    ParityRecord,
    digest_of,
    processor,
    read_record,
)
from taichinet.inference.runtimes.runtime import Runtime
from taichinet.inference.runtimes.tuned import Tuned
from taichinet.models.weights import WEIGHTS_FILE, LoadedWeights
from taichinet.training.device import choose_placement

RuntimeChoice = Literal["auto", "eager", "tuned", "onnx", "openvino"]

_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}


def open_runtime(
    choice: str, loaded: LoadedWeights, folder: Path, disagreement: bool = True, accelerated: bool = False
) -> Runtime:
    """The runtime that `choice` names for the weights `loaded` from `folder`.

    `auto` is the fastest proven one that is installed and was measured to be faster than tuned PyTorch; without any,
    tuned PyTorch. With `accelerated` (there is a GPU) it is always tuned PyTorch. `onnx` and
    `openvino` need a record of `taichinet export` that holds; SettingError and WeightsError say how to get one.
    """
    if choice not in get_args(RuntimeChoice):
        raise unknown_name("runtime", choice, get_args(RuntimeChoice))
    if choice == "eager":
        return Eager(loaded.network, choose_placement("float32", channels_last=False), disagreement)
    if choice in _PACKAGES:
        return _open(_fastest_of(choice, folder), folder, disagreement)
    if choice == "auto" and not accelerated:
        for record in proven(folder):
            if record.seconds < record.tuned_seconds and find_spec(_PACKAGES[record.runtime]):
                try:
                    return _open(record, folder, disagreement)
                except WeightsError:  # a graph that broke since: slower, but right
                    continue
    return Tuned(loaded.network, disagreement=disagreement)


def proven(folder: Path) -> list[ParityRecord]:
    """The records beside the weights in `folder` that hold for these weights on this processor, fastest first.

    Records that cannot be read are passed over.
    """
    folder = folder.parent if folder.name == WEIGHTS_FILE else folder
    files = sorted((folder / RUNTIMES_FOLDER).glob("*.json"))
    if not files:
        return []
    digest, here = digest_of(folder / WEIGHTS_FILE), processor()
    found = []
    for file in files:
        try:
            record = read_record(file)
        except WeightsError:
            continue
        known = record.runtime in _PACKAGES and (folder / RUNTIMES_FOLDER / record.graph).is_file()
        if known and record.holds and record.weights_digest == digest and record.processor == here:
            found.append(record)
    return sorted(found, key=lambda record: record.seconds / record.tuned_seconds)


def _fastest_of(name: str, folder: Path) -> ParityRecord:
    if not find_spec(_PACKAGES[name]):
        raise SettingError(f"The runtime {name} needs the package {_PACKAGES[name]}: pip install 'taichinet[export]'.")
    records = [record for record in proven(folder) if record.runtime == name]
    if not records:
        raise WeightsError(
            f"Nothing proves that {name} gives the masks of the weights in {folder} on this processor. Write and "
            f"check its graph: taichinet export {folder} --format {name} --images DATA -o FILE."
        )
    return records[0]


def _open(record: ParityRecord, folder: Path, disagreement: bool) -> Runtime:
    folder = folder.parent if folder.name == WEIGHTS_FILE else folder
    graph = folder / RUNTIMES_FOLDER / record.graph
    if record.runtime == "onnx":
        from taichinet.inference.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(graph, record.precision, disagreement=disagreement)
    from taichinet.inference.runtimes.openvino import OpenVino

    return OpenVino(graph, record.precision, disagreement=disagreement)
