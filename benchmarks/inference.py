"""Inference time of TaiChiNet in every runtime, of two known networks, and the peak of the machine.

    python benchmarks/inference.py -o results/benchmarks/inference-MACHINE.json --page docs/contribute/speed.md
    python benchmarks/inference.py --from results/benchmarks --page docs/contribute/speed.md

The page shows the records of all machines in the folder of the record; the second command only writes the page. A
machine may have several records (inference-MACHINE-2.json). The page then shows their spread, and the targets are
checked against their medians.

The network has random weights, the paper's width and its input resolution. The speed does not depend on the weights;
`taichinet export` reports the loss in Dice of int8 for trained weights. All networks are called in turn in one process,
A B C A B C ...; times are medians and ratios are ratios of medians. The measurement is repeated once, so that the page
shows how well the ratios repeat.

`--clock cpu` measures the CPU time of one thread instead of the wall time of all cores, which repeats better on a
machine with other load. Folder and start-up are always measured in wall time.
"""

from __future__ import annotations

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from inference_page import page
from measuring import read_record, record
from PIL import Image
from torch import nn

from taichinet.datasets.image_io import read_grey
from taichinet.datasets.phantoms.phantom import make_phantom
from taichinet.inference.folder import predict_files
from taichinet.inference.outputs import output_files, write_maps
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.eager import PLAIN, Eager, Tuned
from taichinet.inference.runtimes.runtime import Runtime
from taichinet.models.catalogue import create_model
from taichinet.models.complexity import measure_complexity
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig
from taichinet.training.device import choose_device_config

PLAIN_NAME = "PyTorch eager float32"
Work = Callable[[], object]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="the record, one file per machine: inference-MACHINE.json")
    parser.add_argument("--page", type=Path, help="write the Markdown page here")
    parser.add_argument("--from", dest="known", type=Path, help="only write the page, from the records of this folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--images", type=int, default=24, help="images of the folder")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    arguments = parser.parse_args()
    records = [] if arguments.known else [record(arguments.output, measure(arguments))]
    folder = arguments.known or (arguments.output and arguments.output.parent)
    if folder:
        records = [read_record(path) for path in sorted(folder.glob("inference-*.json"), key=lambda path: path.stem)]
    text = page(records)
    if arguments.page:
        arguments.page.write_text(text)
    print(text)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The content of the record."""
    threads = 1 if arguments.clock == "cpu" else (os.cpu_count() or 1)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    load_before = os.getloadavg()[0]
    network = create_model("taichinet", width=arguments.width).eval()
    loaded = LoadedWeights(lambda: network, WeightsConfig("taichinet", {"width": arguments.width}, arguments.size))
    images = phantom_images(8)
    prepared = [Predictor(loaded, PLAIN).prepare(image).pixels for image in images]
    runtimes, missing = build_runtimes(loaded, prepared, threads)
    work: dict[str, Work] = {name: partial(runtime.maps, prepared[0][None]) for name, runtime in runtimes.items()}
    baselines, sizes, missing_baselines = build_baselines(arguments.size, count_parameters(network))
    passes = [take_turns({**work, **baselines}, arguments.rounds, arguments.clock) for _ in range(2)]
    seconds = {name: median([passes[0][name], passes[1][name]]) for name in passes[0]}
    fastest = min(runtimes, key=lambda name: seconds[name])
    return {
        "what": "one image through TaiChiNet in every runtime; medians of calls taken in turn in one process",
        "clock": arguments.clock,
        "threads": threads,
        "width": arguments.width,
        "size": arguments.size,
        "rounds": arguments.rounds,
        "merged_upsampling": True,
        "parameters": {"TaiChiNet": count_parameters(network), **sizes},
        "milliseconds": {name: round(1000 * value, 1) for name, value in seconds.items()},
        "ratios": ratios(seconds),
        "ratios_of_each_pass": [ratios(times) for times in passes],
        "gflops_an_image": round(measure_complexity("taichinet", arguments.size, width=arguments.width).gflops, 2),
        "peak_gflops": measure_peak(arguments.clock),
        "folder": measure_folder(loaded, runtimes[fastest], fastest, arguments.images),
        "start_up_seconds": measure_start_up(),
        "not_measured": missing + missing_baselines,
        "load_average_before_and_after": [round(load_before, 1), round(os.getloadavg()[0], 1)],
    }


def build_runtimes(
    loaded: LoadedWeights, calibration: list[np.ndarray], threads: int
) -> tuple[dict[str, Runtime], list[str]]:
    """Every runtime that this machine has, and a line for each that it has not."""
    missing = []
    runtimes: dict[str, Runtime] = {PLAIN_NAME: Eager(copy.deepcopy(loaded.network))}
    runtimes["PyTorch tuned float32"] = Tuned(loaded.network)
    if choose_device_config().bf16:
        runtimes["PyTorch tuned bf16"] = Tuned(loaded.network, choose_device_config())
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        return runtimes, ["ONNX Runtime and OpenVINO: pip install 'taichinet[export]'"]
    from taichinet.inference.export.graph import network_graph
    from taichinet.inference.export.quantise import onnx_int8
    from taichinet.inference.runtimes.onnx import OnnxRuntime

    graph = network_graph(loaded)
    runtimes["ONNX Runtime float32"] = OnnxRuntime(graph.SerializeToString(), "float32", threads)
    with tempfile.TemporaryDirectory() as folder:
        quantised = onnx_int8(graph, calibration, Path(folder))
    runtimes["ONNX Runtime int8"] = OnnxRuntime(quantised.SerializeToString(), "int8", threads)
    if find_spec("openvino") is None or find_spec("nncf") is None:
        return runtimes, ["OpenVINO: pip install 'taichinet[export]'"]
    import openvino

    from taichinet.inference.export.quantise import openvino_int8
    from taichinet.inference.runtimes.openvino import OpenVino, has_bf16

    core = openvino.Core()
    content = network_graph(loaded, transposed=True).SerializeToString()
    runtimes["OpenVINO float32"] = OpenVino(core.read_model(content), "float32", threads)
    if has_bf16():
        runtimes["OpenVINO bf16"] = OpenVino(core.read_model(content), "bf16", threads)
    else:
        missing.append("OpenVINO bf16, and bf16 in PyTorch: this processor has no bf16 arithmetic")
    runtimes["OpenVINO int8"] = OpenVino(openvino_int8(core.read_model(content), calibration), "int8", threads)
    return runtimes, missing


def build_baselines(size: int, parameters: int) -> tuple[dict[str, Work], dict[str, int], list[str]]:
    """Known networks of about as many parameters, in plain PyTorch float32; lines for those not installed."""
    networks: dict[str, nn.Module] = {}
    missing = []
    if find_spec("segmentation_models_pytorch"):
        import segmentation_models_pytorch as smp

        networks["smp U-Net++ (ResNet-18)"] = smp.UnetPlusPlus("resnet18", encoder_weights=None, in_channels=1)
    else:
        missing.append("segmentation_models.pytorch's U-Net++: pip install segmentation-models-pytorch")
    if find_spec("monai"):
        from monai.networks.nets import AttentionUnet

        made = [
            AttentionUnet(2, 1, 1, channels=tuple(w * 2**level for level in range(5)), strides=(2, 2, 2, 2))
            for w in (32, 40, 48, 56, 64)
        ]
        networks["MONAI AttentionUnet"] = min(made, key=lambda one: abs(count_parameters(one) - parameters))
    else:
        missing.append("MONAI's AttentionUnet: pip install monai")
    image = torch.rand(1, 1, size, size)

    def call(network: nn.Module) -> object:
        with torch.inference_mode():
            return network(image)

    work: dict[str, Work] = {name: partial(call, network.eval()) for name, network in networks.items()}
    return work, {name: count_parameters(network) for name, network in networks.items()}, missing


def take_turns(work: dict[str, Work], rounds: int, clock: str) -> dict[str, float]:
    """The median seconds of each; a first round warms up."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            began = now()
            run()
            if turn:
                taken[name].append(now() - began)
    return {name: median(values) for name, values in taken.items()}


def ratios(seconds: dict[str, float]) -> dict[str, float]:
    """How many times faster than plain PyTorch."""
    return {name: round(seconds[PLAIN_NAME] / value, 2) for name, value in seconds.items()}


def measure_peak(clock: str) -> dict[str, float]:
    """GFLOPS of matrix products of 1536 x 1536: float32, and bf16 where the processor has it; best of seven."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    found = {}
    capabilities = torch.cpu.get_capabilities()
    kinds = {"float32": torch.float32}
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        kinds["bf16"] = torch.bfloat16
    for name, kind in kinds.items():
        one = torch.rand(1536, 1536).to(kind)
        taken = []
        for _ in range(7):
            began = now()
            torch.mm(one, one)
            taken.append(now() - began)
        found[name] = round(2 * 1536**3 / min(taken) / 1e9, 1)
    return found


def measure_folder(loaded: LoadedWeights, fastest: Runtime, name: str, count: int) -> dict[str, Any]:
    """Images a second from file to maps: one after the other through plain PyTorch, and as `taichinet predict` does."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, image in enumerate(phantom_images(count)):
            files.append(Path(folder) / f"{i}.png")
            Image.fromarray(image).save(files[-1])
        output = Path(folder) / "out"
        output.mkdir()
        plain, ours = Predictor(loaded, PLAIN), Predictor(loaded, PLAIN, runtime=fastest)
        began = time.perf_counter()
        for file in files:
            write_maps(plain.predict(read_grey(file)), output_files(output, file.stem))
        middle = time.perf_counter()
        rows = list(predict_files(ours, {file: file.stem for file in files}, output))
        ended = time.perf_counter()
    if any(row.status != "done" for row in rows):
        raise RuntimeError("a phantom could not be predicted")
    return {
        "images": count,
        "runtime": name,
        "plain_images_per_second": round(count / (middle - began), 3),
        "images_per_second": round(count / (ended - middle), 3),
        "ratio": round((middle - began) / (ended - middle), 2),
    }


def measure_start_up() -> dict[str, float]:
    """Wall seconds of whole commands, the median of three: the help, and one image with the shipped weights."""
    start = "from taichinet.cli.app import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "scan.png"
        Image.fromarray(phantom_images(1)[0]).save(image)
        commands = {"taichinet --help": ["--help"], "taichinet predict": ["predict", str(image), "-o", f"{folder}/out"]}
        found = {}
        for name, words in commands.items():
            taken = []
            for _ in range(3):
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", start, *words], check=True, capture_output=True)
                taken.append(time.perf_counter() - began)
            found[name] = round(median(taken), 2)
    return found


def phantom_images(count: int) -> list[np.ndarray]:
    """Phantoms of the size of a usual ultrasound image."""
    rng = np.random.default_rng(0)
    return [make_phantom(rng, "malignant" if i % 2 else "benign", 470, 560).image for i in range(count)]


def count_parameters(network: nn.Module) -> int:
    """All of them."""
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
