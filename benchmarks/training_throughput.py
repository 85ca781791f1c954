"""Training throughput of the full TaiChiNet at 224 px, compared with plain eager float32 in NCHW layout.

    python benchmarks/training_throughput.py -o results/benchmarks/training_throughput-MACHINE.json

The same weights are trained on the same batches with the same loss in every precision and memory layout that the
machine supports natively, in turn in one process, with the matrix product of the machine measured in between. These
variants compute the network as written. The training configuration fuses upsampling with the following convolution
and includes drawing and augmenting its batches, so the comparison does not favour it. `share_of_gemm_peak` is the
number of operations of the step as written, relative to what the matrix product of the same precision does in that
time; fused upsampling needs fewer. The peak memory is that of a separate process per batch size, null if too little
memory was free.
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import sys
from math import isnan, nan
from pathlib import Path
from statistics import median

import torch
from measuring import (
    draw,
    gemm_call,
    gemm_gflops,
    placements,
    random_data,
    record,
    seconds_in_turn,
    train_step,
    training_gflops,
)

from taichinet.models.catalogue import create_model
from taichinet.models.upsampling import leave_upsampling_plain
from taichinet.training.device import choose_device_config, keep_freed_memory

MEMORY = ((8, 1), (16, 1), (16, 4))  # batch size, micro-batches


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="the record, one file a machine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--memory-of", nargs=2, type=int, metavar=("BATCH", "PARTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()  # as training does; the plain placement gains by it too
    if arguments.memory_of:
        print(peak_memory_gib(arguments.width, arguments.size, *arguments.memory_of))
        return
    content = {
        "what": "training step of TaiChiNet, images a second; medians of steps taken in turn in one process",
        "width": arguments.width,
        "size": arguments.size,
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        **throughput(arguments),
        "peak_memory_gib": {
            f"batch {batch}" + (f" in {parts} micro-batches" if parts > 1 else ""): memory_of_a_process(batch, parts)
            for batch, parts in (() if arguments.no_memory else MEMORY)
        },
    }
    record(arguments.output, content)


def throughput(arguments: argparse.Namespace) -> dict[str, object]:
    """Images per second of every device configuration, the GEMM peak, and their ratios."""
    torch.manual_seed(0)
    first = create_model("taichinet", width=arguments.width)
    ours = choose_device_config()
    data, regions = random_data(4 * arguments.batch, arguments.size)
    generator = torch.Generator().manual_seed(0)
    batch = draw(data, regions, arguments.batch, generator)
    calls = {}
    variants = placements(ours.device)
    written = {name: leave_upsampling_plain(copy.deepcopy(first)) for name in variants}
    plain, chosen = (
        next(iter(variants)),
        next(name for name, device_config in variants.items() if device_config == ours),
    )
    if ours.device.type == "cpu":  # elsewhere nothing is merged
        chosen = f"{chosen}, merged"
        variants[chosen], written[chosen] = ours, copy.deepcopy(first)
    for name, device_config in variants.items():
        network = device_config.place(written[name])
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        calls[name] = lambda n=network, o=optimizer, p=device_config: train_step(n, batch, o, p)
    formats = {"float32": torch.float32, "bf16": torch.bfloat16}
    native = [name for name in formats if any(variant.startswith(name) for variant in variants)]
    gemms = {f"gemm {name}": gemm_call(ours.device, formats[name]) for name in native}
    pipeline = {"pipeline": lambda: draw(data, regions, arguments.batch, generator)}
    seconds = seconds_in_turn({**calls, **gemms, **pipeline}, arguments.rounds)
    peak = {name: gemm_gflops(seconds[f"gemm {name}"]) for name in native}
    gflops = training_gflops("taichinet", arguments.size, width=arguments.width)
    medians = {name: median(values) for name, values in seconds.items()}
    ours_seconds = medians[chosen] + medians["pipeline"]
    return {
        "placements": {
            name: {
                "images_per_second": round(arguments.batch / medians[name], 3),
                "x_plain": round(medians[plain] / medians[name], 2),
                "share_of_gemm_peak": round(gflops * arguments.batch / medians[name] / peak[name.partition(" ")[0]], 3),
            }
            for name in variants
        },
        "gemm_gflops": {name: round(value, 1) for name, value in peak.items()},
        "training_gflops_per_image": round(gflops, 1),
        "ours": ours.describe(),
        "ours_images_per_second": round(arguments.batch / ours_seconds, 3),
        "plain_images_per_second": round(arguments.batch / medians[plain], 3),
        "ratio": round(medians[plain] / ours_seconds, 2),
        "ratio_of_each_round": [
            round(slow / (fast + drawn), 2)
            for slow, fast, drawn in zip(seconds[plain], seconds[chosen], seconds["pipeline"], strict=True)
        ],
        "ours_share_of_gemm_peak": round(gflops * arguments.batch / ours_seconds / peak[chosen.partition(" ")[0]], 3),
        "pipeline_share_of_step": round(medians["pipeline"] / ours_seconds, 4),
    }


def memory_of_a_process(batch: int, parts: int) -> float | None:
    """`peak_memory_gib` measured in a new process, so that earlier work does not raise the peak."""
    command = [sys.executable, *sys.argv, "--memory-of", str(batch), str(parts)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # its complaints are shown
    found = float(done.stdout) if done.returncode == 0 else nan
    return None if isnan(found) else found


def leave_others_their_memory(spare: int = 2**30) -> None:
    """Limit the memory of this process, so that an allocation fails before the kernel kills a process."""
    facts = Path("/proc/meminfo")
    if not facts.exists():
        return
    available = next(int(line.split()[1]) for line in facts.read_text().splitlines() if line.startswith("MemAvailable"))
    own = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    limit = own + max(1024 * available - spare, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def peak_memory_gib(width: int, size: int, batch_size: int, parts: int) -> float:
    """GiB at the peak of a training step: resident memory of this process, or on a GPU what was allocated there.

    A step on two small images before it leaves Adam's moments in memory, which the first step does not have yet. NaN
    where the memory that is free does not suffice.
    """
    device_config = choose_device_config()
    network = device_config.place(create_model("taichinet", width=width))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for count, pixels, cut in ((2, 32, 1), (batch_size, size, parts)):
        batch = draw(*random_data(count, pixels), count, torch.Generator().manual_seed(0))
        try:
            train_step(network, batch, optimizer, device_config, cut)
        except (MemoryError, RuntimeError) as error:
            if not any(word in str(error) for word in ("memory", "bad_alloc", "primitive")):  # oneDNN's words
                raise
            return nan
        leave_others_their_memory()
    if device_config.device.type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return round(peak_resident_bytes() / 2**30, 2)


def peak_resident_bytes() -> int:
    """Peak memory of this process, on Linux without that of the process that started it."""
    facts = Path("/proc/self/status")
    lines = facts.read_text().splitlines() if facts.exists() else []
    for line in lines:  # ru_maxrss outlives exec: a child would report its parent's peak
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
