"""Images per second through the network on a GPU, and end to end in `predict` and `evaluate`.

    python benchmarks/gpu_inference.py -o results/benchmarks/gpu_inference-MACHINE.json

Runs on the CPU as well, where `--images 16 --size 64 --width 8` take a few seconds. For each size of the batch:

- device: the images are on the device; no copies.
- copies: images from the CPU and maps back to it, one batch ahead, as `predict` does; no files.
- decode: image files to input resolution, in one thread.
- predict: from image files to maps, with the journal; also with maps that take no time.
- evaluate: scores of the images in memory, as `evaluate` does after reading; reading the data set is timed alone.

The weights are random, the images are phantoms of BUSI's size. Rates are medians of `--rounds` after one warm-up.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from measuring import gemm_call, gemm_gflops, record, seconds_in_turn
from numpy.typing import NDArray
from torch import nn

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.image_io import read_grey
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.experiments import scoring
from taichinet.inference import folder
from taichinet.inference.outputs import Journal
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.eager import Eager, Tuned
from taichinet.inference.runtimes.runtime import Maps, RuntimeDescription
from taichinet.models.catalogue import create_model
from taichinet.models.complexity import measure_complexity
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig
from taichinet.training.device import DeviceConfig, choose_device_config
from taichinet.training.loop import network_outputs
from taichinet.training.one_ahead import one_ahead


class NoNetwork:
    """Returns at once, so that only the other parts of `predict` take time."""

    description = RuntimeDescription("none", "float32")

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """A smooth blob in each image."""
        axis = np.linspace(-1, 1, images.shape[-1], dtype=np.float32) ** 2
        blob = np.exp(-4 * (axis + axis[:, None]))
        return Maps(lesion=np.stack([blob] * len(images)), disagreement=np.stack([blob / 2] * len(images)))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["taichinet", "unet"])
    parser.add_argument("-o", "--output", type=Path, help="the record, one file a machine")
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 64], help="images per batch")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    device_config = choose_device_config()
    side = 8192 if device_config.device.type == "cuda" else 512
    gemm = gemm_call(device_config.device, torch.bfloat16 if device_config.bf16 else torch.float32, side)
    peak = gemm_gflops(seconds_in_turn({"gemm": gemm}, 5)["gemm"], side)
    with tempfile.TemporaryDirectory() as root:
        data = Data(Path(root), arguments.images, arguments.size)
        models = {name: measure(name, data, arguments, peak) for name in arguments.models}
    shared = {"placement": device_config.describe(), "size": arguments.size, "images": arguments.images}
    record(arguments.output, {**shared, "gemm_gflops": round(peak), "read_data_set": data.reading_rate, **models})


class Data:
    """Phantoms as files, and at input resolution."""

    def __init__(self, root: Path, count: int, size: int) -> None:
        write_phantom_busi(root / "phantoms", count // 2, count - count // 2, 0, 0, size=(480, 592))
        began = time.perf_counter()
        self.manifest = open_dataset(root / "phantoms", include_normal=False)
        self.prepared: Prepared = prepare(self.manifest, size, 1)
        self.reading_rate = round(count / (time.perf_counter() - began), 1)
        self.names = {Path(str(sample.image)): f"{i}" for i, sample in enumerate(self.manifest.samples)}
        self.pixels = self.prepared.image.numpy()
        self.out = root / "out"
        self.out.mkdir()


def measure(model: str, data: Data, arguments: argparse.Namespace, peak: float) -> dict[str, Any]:
    """Rates of a network in images per second, for each size of the batch."""
    device_config = choose_device_config()
    options = {"width": arguments.width} if model in ("taichinet", "unet", "unet++") else {}
    gflops = measure_complexity(model, arguments.size, **options).gflops
    weights = LoadedWeights(
        lambda: create_model(model, **options).eval(), WeightsConfig(model, options, arguments.size)
    )
    network = device_config.place(copy.deepcopy(weights.network))
    tuned = Tuned(weights.network, device_config)
    eager = Eager(weights.network, device_config)
    whole, rest = (Predictor(weights, device_config, runtime=runtime) for runtime in (tuned, NoNetwork()))
    on_device = data.prepared.to(device_config.device)
    result: dict[str, Any] = {"gflops_per_image": round(gflops, 1)}
    for batch in arguments.batches:
        calls: dict[str, Callable[[], object]] = {
            "device": partial(compute, network, on_device, batch, device_config),
            "copies, eager": partial(through, eager, data, batch),
            "copies, tuned": partial(through, tuned, data, batch),
            "decode": partial(decode, whole, data),
            "predict without network": partial(predict, rest, data),
            "predict": partial(predict, whole, data),
            "evaluate": partial(scoring.score_images, network, data.manifest, data.prepared, 0, device_config),
        }
        with batches_of(batch):
            seconds = seconds_in_turn(calls, arguments.rounds)
            alone = scoring.score_images(network, data.manifest, data.prepared, 0, device_config)
        rates = {name: arguments.images / median(values) for name, values in seconds.items()}
        rates["evaluate, network alone"] = 1 / alone.inference_seconds_per_image
        rounded = {name: round(rate, 1) for name, rate in rates.items()}
        share = {"device, share of gemm peak": round(rates["device"] * gflops / peak, 3)}
        result[f"batch {batch}"] = rounded | share
        print(model, batch, result[f"batch {batch}"], flush=True)
    return result


def compute(network: nn.Module, data: Prepared, batch: int, device_config: DeviceConfig) -> None:
    """All images through the network, on its device."""
    for _ in network_outputs(network, data.batches(batch), device_config):
        pass


def decode(predictor: Predictor, data: Data) -> None:
    """All files to images at input resolution, in one thread."""
    for file in data.names:
        predictor.prepare(read_grey(file))


@contextmanager
def batches_of(size: int) -> Iterator[None]:
    """Context in which `predict` and `evaluate` use batches of `size` images on every device."""
    plan = folder.Plan.for_device(choose_device_config().device.type)._replace(batch=size)
    with (
        patch.object(folder.Plan, "for_device", lambda device: plan),
        patch.multiple(scoring, BATCH_SIZE=size, GPU_BATCH_SIZE=size),
    ):
        yield


def through(runtime: Eager, data: Data, batch: int) -> None:
    """All images through a runtime, with copies."""

    def launches() -> Iterator[Any]:
        for start in range(0, len(data.pixels), batch):
            yield runtime.launch(data.pixels[start : start + batch])

    for launch in one_ahead(launches()):
        launch.maps()


def predict(predictor: Predictor, data: Data) -> None:
    """All files to maps, with a new journal."""
    with Journal(data.out, str(time.perf_counter_ns()), data.names) as journal:
        for row in folder.predict_files(predictor, data.names, data.out, journal):
            if row.status != "done":
                raise RuntimeError(row.error)


if __name__ == "__main__":
    main()
