"""Time of a training step by kind of operator, and of a whole run by stage. Writes docs/contribute/profile.md.

    python benchmarks/profile_training.py -o RECORD.json --page docs/contribute/profile.md
    python benchmarks/profile_training.py --from RECORD.json --page docs/contribute/profile.md

The second command only writes the page, from that record and the records of benchmarks/training_throughput.py.
The step is that of the paper's network (224 px, width 32) with the device configuration that training chooses. The run
is one fold of a recipe on phantoms of BUSI's size, through `run_fold`, with one epoch of mining and one of training;
the last column is extrapolated to the recipe's numbers of epochs and to the 647 images of BUSI.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from measuring import clock, draw, random_data, read_record, record, train_step
from profile_page import page
from torch.profiler import ProfilerActivity, profile

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.folds import make_folds
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.prepared import prepare
from taichinet.experiments import run as run_module
from taichinet.experiments import scoring as scoring_module
from taichinet.experiments import training_run as training_module
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.study_data import StudyData
from taichinet.models.catalogue import create_model
from taichinet.training import easy_hard as mining_module
from taichinet.training import fit as fit_module
from taichinet.training.checkpoint_writer import CheckpointWriter
from taichinet.training.device import choose_device_config, keep_freed_memory

# An operator has the first kind with a word in its name, so the order separates forward and backward of a layer.
KINDS: dict[str, tuple[str, ...]] = {
    "convolutions, backward": ("convolution_backward", "conv_backward", "_mergedbackward"),
    "convolutions, forward": ("convolution", "conv2d", "_merged", "aten::mm", "kron"),
    "BatchNorm": ("batch_norm",),
    "activations": ("relu", "clamp_min", "threshold_backward", "gelu", "sigmoid"),
    "concatenation, pooling, upsampling": ("cat", "max_pool2d", "upsample"),
    "attention": ("bmm", "softmax"),
    "loss": ("binary_cross_entropy", "sum", "mean", "pow", "where"),
    "optimiser": ("adam", "addcmul", "addcdiv", "lerp", "sqrt", "zero_grad"),
    "copies and conversions": ("copy", "clone", "contiguous", "fill_", "zero_", "empty", "resize"),
}
REST = "everything else"
PROFILED_STEPS = 5
# Module and name of the functions of a run, and the name of the stage.
STAGES: tuple[tuple[Any, str, str], ...] = (
    (training_module, "mine_regions", "mining"),
    (run_module, "fit", "training"),
    (mining_module, "fit", "mining"),
    (fit_module, "train_epoch", "steps"),
    (fit_module, "validation_dice", "validation"),
    (CheckpointWriter, "add", "checkpoint"),
    (mining_module, "predict_batches", "asking the trained U-Net++"),
    (run_module, "score_images", "scoring"),
    (scoring_module, "_outputs", "network"),
    (scoring_module, "score_mask", "overlap and surface distances"),
    (Manifest, "region_masks", "decoding the masks at the original resolution"),
    (scoring_module, "resize_probability", "resizing to the image's size"),
    (run_module, "save_weights", "weights"),
)


@dataclass(frozen=True)
class Stage:
    """Seconds inside one stage without those of the stages within it, and how often it was entered."""

    path: tuple[str, ...]
    seconds: float
    calls: int


def main() -> None:
    """Measure both, print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="the record, one file a machine")
    parser.add_argument("--from", dest="known", type=Path, help="measure nothing: take this record")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--throughput", type=Path, default=Path("results/benchmarks"), help="folder of its records")
    parser.add_argument("--recipe", default="cpu-taichinet")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=int, default=32)
    arguments = parser.parse_args()
    if arguments.known:
        entry = read_record(arguments.known)
    else:
        stages, images = profile_run(get_recipe(arguments.recipe), arguments.images)
        content = {
            "what": "seconds of one training step by kind of operator, and of one fold by stage",
            "placement": choose_device_config().describe(),
            "step": {"width": arguments.width, "size": arguments.size, "batch": arguments.batch},
            "operators": profile_step(arguments.width, arguments.size, arguments.batch),
            "recipe": arguments.recipe,
            "images": images,
            "stages": [vars(stage) for stage in stages],
        }
        entry = record(arguments.output, content)
    if arguments.page:
        machines = [read_record(path) for path in sorted(arguments.throughput.glob("training_throughput*.json"))]
        of_gpus = sorted(arguments.throughput.glob("gpu_training-*.json"))
        gpus = {path.stem.removeprefix("gpu_training-"): read_record(path) for path in of_gpus}
        arguments.page.write_text(page(entry, machines, gpus), encoding="utf-8")


def profile_step(width: int, size: int, count: int) -> dict[str, float]:
    """Seconds of one training step by kind of operator: medians of PROFILED_STEPS steps after three warm-up steps.

    A profiled step is slower: the records of the profiler fragment the heap, so that some blocks are mapped again. The
    median excludes most of that.
    """
    torch.manual_seed(0)
    keep_freed_memory()  # as in training
    device_config = choose_device_config()
    network = device_config.place(create_model("taichinet", width=width))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    data, regions = random_data(2 * count, size)
    batch = draw(data, regions, count, torch.Generator().manual_seed(0))
    for _ in range(3):
        train_step(network, batch, optimizer, device_config)
    on_gpu = device_config.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    taken: dict[str, list[float]] = defaultdict(lambda: [0.0] * PROFILED_STEPS)
    for step in range(PROFILED_STEPS):
        with profile(activities=activities) as profiler:
            train_step(network, batch, optimizer, device_config)
        for event in profiler.key_averages():
            microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            taken[kind_of(event.key)][step] += microseconds / 1e6
    seconds = {kind: median(values) for kind, values in taken.items()}
    return {kind: round(value, 3) for kind, value in sorted(seconds.items(), key=lambda item: -item[1])}


def kind_of(operator: str) -> str:
    """The kind of an operator such as `aten::native_batch_norm_backward`."""
    name = operator.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), REST)


def profile_run(recipe: Experiment, count: int) -> tuple[list[Stage], dict[str, int]]:
    """Seconds of each stage of one fold with a single epoch each, and the images of each part of the fold."""
    short = vary(recipe, {"training.epochs": 1, "mining.epochs": 1, "data.include_normal": False})
    one_thread = partial(ThreadPoolExecutor, 1)  # the stages of the scoring must not run at the same time
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(scoring_module, "ThreadPoolExecutor", lambda count, name: one_thread(name)),
        stopwatch() as (seconds, calls),
    ):
        root = Path(folder)
        # BUSI's images are about 600 x 500 pixels.
        write_phantom_busi(root / "phantoms", 2 * count // 3, count - 2 * count // 3, 0, 0, size=(480, 592))
        manifest = open_dataset(root / "phantoms", include_normal=False)
        began = clock()
        data = prepare(manifest, short.data.size, short.channels)
        seconds["decoding and resizing",] = clock() - began
        calls["decoding and resizing",] = 1
        plan = make_folds(manifest, (), count=short.data.folds)
        began = clock()
        done = run_module.run_fold(FoldJob(short, StudyData(manifest, data, plan), 0, root / "fold-0", root / "mining"))
        known = sum(value for path, value in seconds.items() if path != ("decoding and resizing",))
        seconds["the rest of a run",] = clock() - began - known
        calls["the rest of a run",] = 1
    return [
        Stage(path, round(value, 3), calls[path]) for path, value in seconds.items()
    ], done.record.images.model_dump()


class stopwatch:  # noqa: N801 - used as a context manager, like a function
    """Context that measures every function of STAGES, each without the time of the stages that it calls."""

    def __enter__(self) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], int]]:
        self.seconds: dict[tuple[str, ...], float] = defaultdict(float)
        self.calls: dict[tuple[str, ...], int] = defaultdict(int)
        self.path: list[str] = []
        self.inner: list[float] = []
        self.before = [(module, name, getattr(module, name)) for module, name, _ in STAGES]
        for module, name, label in STAGES:
            setattr(module, name, self._timed(getattr(module, name), label))
        return self.seconds, self.calls

    def __exit__(self, *_: object) -> None:
        for module, name, function in self.before:
            setattr(module, name, function)

    def _timed(self, function: Any, label: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nested = bool(self.path) and self.path[-1] == label
            if not nested:
                self.path.append(label)
            self.inner.append(0.0)
            began = clock()
            try:
                return function(*arguments, **options)
            finally:
                spent = clock() - began
                place = tuple(self.path)
                self.seconds[place] += spent - self.inner.pop()
                self.calls[place] += 1
                if self.inner:
                    self.inner[-1] += spent
                if not nested:
                    self.path.pop()

        return call


if __name__ == "__main__":
    main()
