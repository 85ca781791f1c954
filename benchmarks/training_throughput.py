"""Training throughput of the full TaiChiNet at 224 px: ours against the same network in plain float32 NCHW eager.

    python benchmarks/training_throughput.py -o results/benchmarks/training_throughput.json

Both train the same weights on the same batches with the same loss, in turn, in one process: A B A B ... The ratio
is that of the medians. Ours is timed end to end, with the data pipeline (drawing the batch, augmentation) inside;
the plain one without, so that the comparison cannot flatter. The pipeline's share is the median time of drawing and
augmenting a batch over that of our whole step.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from statistics import median

import torch
from torch import nn

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings, augment
from taichinet.datasets.prepared import Prepared, Regions
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.catalogue import create_model
from taichinet.training.device import Placement, choose_placement
from taichinet.training.loop import train_epoch

PLAIN = Placement(torch.device("cpu"), bf16=False, memory_format=torch.contiguous_format)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=int, default=32)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    ours = create_model("taichinet", width=arguments.width)
    plain = copy.deepcopy(ours)
    placement = choose_placement()
    placement.place(ours)
    data, regions = random_data(4 * arguments.batch, arguments.size)
    optimizers = {network: torch.optim.Adam(network.parameters(), lr=1e-4) for network in (ours, plain)}
    generator = torch.Generator().manual_seed(0)
    pipeline_seconds, our_seconds, plain_seconds = [], [], []
    for turn in range(arguments.rounds + 1):  # the first turn warms up
        began = time.perf_counter()
        batch = draw(data, regions, arguments.batch, generator)
        drawn = time.perf_counter()
        step(ours, batch, optimizers[ours], placement)
        done = time.perf_counter()
        step(plain, batch, optimizers[plain], PLAIN)
        end = time.perf_counter()
        if turn:
            pipeline_seconds.append(drawn - began)
            our_seconds.append(done - began)
            plain_seconds.append(end - done)
    result = {
        "what": "training step of TaiChiNet, images a second; median of alternating steps in one process",
        "width": arguments.width,
        "size": arguments.size,
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "ours": placement.describe(),
        "ours_images_per_second": round(arguments.batch / median(our_seconds), 3),
        "plain": PLAIN.describe(),
        "plain_images_per_second": round(arguments.batch / median(plain_seconds), 3),
        "ratio": round(median(plain_seconds) / median(our_seconds), 2),
        "ratio_of_each_round": [round(p / o, 2) for p, o in zip(plain_seconds, our_seconds, strict=True)],
        "pipeline_share_of_step": round(median(pipeline_seconds) / median(our_seconds), 4),
        "commit": source_commit(),
        "machine": describe_machine(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n", encoding="utf-8")


def random_data(count: int, size: int) -> tuple[Prepared, Regions]:
    """Noise with a square lesion: speed does not depend on what is seen."""
    keys = tuple(map(str, range(count)))
    image = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8)
    lesion = torch.zeros_like(image)
    lesion[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    easy = lesion.clone()
    easy[..., : size // 3, :] = 0
    return Prepared(keys, ("benign",) * count, image, lesion), Regions(keys, easy, lesion - easy)


def draw(data: Prepared, regions: Regions, count: int, generator: torch.Generator) -> Batch:
    """A batch as training draws it."""
    rows = torch.randperm(len(data.keys), generator=generator)[:count]
    return augment(data.batch(rows, regions), AugmentationSettings(), generator)


def step(network: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, placement: Placement) -> None:
    """One optimiser step through the project's own loop, in the hard step of the curriculum."""
    train_epoch(
        network,
        [batch],
        lambda prediction, moved: objective(prediction, moved, "hard", ObjectiveSettings()),
        optimizer,
        placement,
    )


if __name__ == "__main__":
    main()
