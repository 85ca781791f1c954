"""Training throughput on a GPU, end to end, with and without each of the faster parts.

    python benchmarks/gpu_training.py -o results/benchmarks/gpu_training-MACHINE.json

An epoch of 480 random images at the paper's settings (batch 16, 224 px, width 32) is trained with `train_epoch`, with
drawing and augmentation of the batches. A variant is timed in three epochs after two that warm up. The variants add one
part after the other. `--losses` writes the losses of the first 20 steps
instead, on any device, to compare devices.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from measuring import gemm_call, gemm_gflops, hard_loss, random_data, record, seconds_in_turn, training_gflops
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.models.catalogue import create_model
from taichinet.training import loop
from taichinet.training.device import DeviceConfig, choose_device_config
from taichinet.training.fit import TrainingData, epoch_batches
from taichinet.training.gpu.use import step_graphs
from taichinet.training.loop import TrainingStep, train_epoch
from taichinet.training.optimizer import make_optimizer
from taichinet.training.settings import TrainingSettings

LAYERS = "taichinet.training.gpu.layers"
VARIANTS = ("plain", "fused Adam", "padded convolutions", "fused BatchNorm", "CUDA graph")
STEPS = 20


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["taichinet", "unet", "unet++"])
    parser.add_argument("-o", "--output", type=Path, help="the record, one file a machine")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--losses", action="store_true", help=f"the losses of the first {STEPS} steps")
    parser.add_argument("--profile", action="store_true", help="print the kernels of a step")
    arguments = parser.parse_args()
    measure = losses if arguments.losses else throughput
    record(
        arguments.output, {model: measure(model, arguments) for model in arguments.models} | {"size": arguments.size}
    )


def throughput(model: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Images per second of each variant, and its share of the peak of the matrix product in bf16."""
    device_config = choose_device_config()
    gemm = gemm_call(device_config.device, torch.bfloat16, 8192 if device_config.device.type == "cuda" else 512)
    size = 8192 if device_config.device.type == "cuda" else 512
    peak = gemm_gflops(seconds_in_turn({"gemm": gemm}, 5)["gemm"], size)
    gflops = training_gflops(model, arguments.size, **options(model, arguments))
    result: dict[str, object] = {"training_gflops_per_image": round(gflops, 1), "gemm_gflops": round(peak)}
    for variant in arguments.variants:
        with parts_up_to(variant):
            fits = Epochs(model, arguments, device_config, graphs=variant == "CUDA graph", fused=variant != "plain")
            began = time.perf_counter()
            fits.run(), fits.run()
            warm = time.perf_counter() - began
            seconds = [fits.run() for _ in range(arguments.epochs)]
            rate = arguments.images / median(seconds)
            if arguments.profile and variant == "fused BatchNorm":
                print(fits.kernels(), flush=True)
        memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0
        result[variant] = {
            "images_per_second": round(rate, 1),
            "share_of_gemm_peak": round(rate * gflops / peak, 3),
            "seconds_to_warm_up": round(warm, 1),
            "peak_memory_gib": round(memory, 2),
        }
        print(model, variant, result[variant], flush=True)
    return result


def losses(model: str, arguments: argparse.Namespace) -> dict[str, object]:
    """The losses of the first steps."""
    device_config = choose_device_config()
    arguments.images = 16 * STEPS
    seen: list[Tensor] = []
    fits = Epochs(model, arguments, device_config, graphs=True, fused=True)
    fits.run(seen.append)
    return {"device": device_config.describe(), "losses": [round(value, 5) for value in torch.stack(seen).tolist()]}


def options(model: str, arguments: argparse.Namespace) -> dict[str, int]:
    """Options of the network; only these two have a width of their own at the paper's settings."""
    return {"width": arguments.width} if model in ("taichinet", "unet", "unet++") else {}


class Epochs:
    """Epochs of training of one network on random data."""

    def __init__(
        self, model: str, arguments: argparse.Namespace, device_config: DeviceConfig, graphs: bool, fused: bool
    ) -> None:
        torch.manual_seed(0)
        self.device_config = device_config
        self.network = device_config.place(create_model(model, **options(model, arguments)))
        train, regions = random_data(arguments.images, arguments.size)
        self.data = TrainingData(train, train.subset(()), regions, AugmentationSettings()).to(device_config.device)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        if fused:
            self.optimizer = make_optimizer(self.network, TrainingSettings(), device_config.device)
        self.graphs = step_graphs(device_config, 1) if graphs else None
        self.epoch = 0

    def run(self, on_loss: Callable[[Tensor], None] = lambda loss: None) -> float:
        """Train one epoch; return its seconds."""

        def replay(batch: object, step: Callable[..., Tensor]) -> Tensor:
            loss = step(batch) if self.graphs is None else self.graphs.run("hard", batch, step)  # type: ignore[arg-type]
            on_loss(loss)
            return loss

        finish()
        began = time.perf_counter()
        batches = epoch_batches(self.data, TrainingSettings(), self.epoch)
        step = TrainingStep(self.network, hard_loss, self.optimizer, self.device_config)
        train_epoch(step, batches, replay)
        finish()
        self.epoch += 1
        return time.perf_counter() - began

    def kernels(self) -> str:
        """Table of the kernels of an epoch, the longest first."""
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as measured:
            self.run()
        return str(
            measured.key_averages().table(sort_by="self_device_time_total", row_limit=45, max_name_column_width=110)
        )


@contextmanager
def parts_up_to(variant: str) -> Iterator[None]:
    """Leave out the parts of layers that come after `variant`."""
    with ExitStack() as stack:
        if VARIANTS.index(variant) < VARIANTS.index("padded convolutions"):
            stack.enter_context(patch.object(loop, "training_layers", lambda network, device_config: nullcontext()))
        elif VARIANTS.index(variant) < VARIANTS.index("fused BatchNorm"):
            stack.enter_context(patch(f"{LAYERS}._is_fused", lambda module: False))
        yield


def finish() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
