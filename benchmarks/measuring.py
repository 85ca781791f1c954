"""Shared code of the benchmarks: random data, calls timed in turn, peak of the machine, records."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from taichinet.batch import Batch, Prediction
from taichinet.datasets.augmentation import AugmentationSettings, draw_transforms
from taichinet.datasets.prepared import Prepared, Regions
from taichinet.errors import SettingError
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.catalogue import create_model
from taichinet.models.upsampling import leave_upsampling_plain
from taichinet.training.device import DeviceConfig, choose_device_config
from taichinet.training.loop import TrainingStep, train_epoch

GEMM_SIZE = 2048


def random_data(count: int, size: int) -> tuple[Prepared, Regions]:
    """Noise with a square lesion; the speed does not depend on the content."""
    keys = tuple(map(str, range(count)))
    image = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8)
    lesion = torch.zeros_like(image)
    lesion[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    easy = lesion.clone()
    easy[..., : size // 3, :] = 0
    return Prepared(keys, ("benign",) * count, image, lesion), Regions(keys, easy, lesion - easy)


def draw(data: Prepared, regions: Regions, count: int, generator: torch.Generator) -> Batch:
    """An augmented random batch, as in training."""
    rows = torch.randperm(len(data.keys), generator=generator)[:count]
    (transforms,) = draw_transforms([count], AugmentationSettings(), generator, data.image.device)
    return transforms.apply(data.batch(rows, regions))


def train_step(
    network: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, device_config: DeviceConfig, accumulate: int = 1
) -> None:
    """One optimiser step through the project's own loop, in the hard step of the curriculum."""
    train_epoch(TrainingStep(network, hard_loss, optimizer, device_config, accumulate), [batch])


def hard_loss(prediction: Prediction, batch: Batch) -> Tensor:
    """The loss of the curriculum's second step, with every term."""
    return objective(prediction, batch, "hard", ObjectiveSettings())


def placements(device: torch.device) -> dict[str, DeviceConfig]:
    """Every number format that `device` computes natively, in both memory layouts; the plainest first."""
    native = choose_device_config().bf16
    return {
        f"{'bf16' if bf16 else 'float32'} {'channels-last' if last else 'NCHW'}": DeviceConfig(
            device, bf16, torch.channels_last if last else torch.contiguous_format
        )
        for bf16 in ((False, True) if native else (False,))
        for last in (False, True)
    }


def clock_is_cpu_time() -> bool:
    """Whether `clock` counts this process's own processor time: on a CPU with a single thread that is the latency."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def clock() -> float:
    """Seconds; with one thread those of the process alone, so that a busy machine spoils no figure."""
    return time.process_time() if clock_is_cpu_time() else time.perf_counter()


def seconds_in_turn(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, called in turn (A B C A B C ...): what slows the machine slows all of them.

    A first round warms up and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            _finish()
            began = clock()
            call()
            _finish()
            if turn:
                seconds[name].append(clock() - began)
    return seconds


def gemm_call(device: torch.device, dtype: torch.dtype, size: int = GEMM_SIZE) -> Callable[[], Tensor]:
    """A product of two square matrices: 2 * size^3 operations, what the machine reaches at best."""
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: one @ other


def gemm_gflops(seconds: Sequence[float], size: int = GEMM_SIZE) -> float:
    """Peak in GFLOPS from the seconds of `gemm_call`."""
    return 2 * size**3 / median(seconds) / 1e9


def training_gflops(model: str, size: int, **options: object) -> float:
    """GFLOPs of one image forward and backward through the network as it is written, from shapes alone.

    Convolutions and matrix products are counted.
    """
    network = leave_upsampling_plain(create_model(model, **options).train())
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        prediction = network(torch.zeros(2, 1, size, size))
        outputs = [prediction.positive] + ([] if prediction.negative is None else [prediction.negative])
        sum(output.sum() for output in outputs).backward()
    return float(counter.get_total_flops() / 2 / 1e9)


def record(path: Path | None, content: Mapping[str, Any]) -> dict[str, Any]:
    """Add clock (unless `content` has one), load, commit and machine to `content`; print it and write it to `path`.

    A file with the record of another machine is not overwritten, because that machine may not be available again.
    """
    timing = "processor time of one thread" if clock_is_cpu_time() else "wall clock"
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    where = {"commit": source_commit(), "machine": describe_machine()}
    entry = {"clock": timing, **content, "load_average": load, **where}
    text = json.dumps(entry, indent=1) + "\n"
    print(text, end="")
    if path is not None:
        if path.is_file() and _hardware(other := read_record(path)) != _hardware(entry):
            raise SystemExit(
                f"{path} is the record of {_hardware(other)}, and this machine is {_hardware(entry)}. Give another "
                "file with -o."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return entry


def read_record(path: Path) -> dict[str, Any]:
    """Read a record."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_between(page: Path, name: str, lines: Sequence[str]) -> None:
    """Replace what `page` has between `<!-- name: begin -->` and `<!-- name: end -->`; SettingError without them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text(encoding="utf-8")
    if not all(text.count(mark) == 1 for mark in (begin, end)):
        raise SettingError(f"{page} does not contain {begin} and {end} once each. Add them around what is generated.")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    page.write_text("\n".join([before + begin, *lines, end + after]), encoding="utf-8")


def _hardware(entry: Mapping[str, Any]) -> tuple[str, Any]:
    return entry["machine"]["processor"], entry["machine"]["accelerator"]


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
