"""`taichinet demo`: example images, folds, and a comparison of two networks, in at most 90 seconds on two cores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import AsJson

if TYPE_CHECKING:
    from rich.console import Console

    from taichinet.experiments.cross_validate import Study
    from taichinet.experiments.study_data import StudyData
    from taichinet.reports.demo.results import Leaks
    from taichinet.reports.paper_tables.comparisons import Comparison

PHANTOMS = {"benign": 48, "malignant": 32, "normal": 15}
NEAR_DUPLICATES = 12  # of each class with lesions
PHANTOM_SIZE = (128, 160)
RECIPES = ("demo-taichinet", "demo-unet")
CHANGES = {"data.size": 64, "data.folds": 3, "training.epochs": 12, "mining.epochs": 8}
"""The recipes are shortened, so that the demo is short."""

OWN_NETWORK = '''"""Replace this network by yours: images (B, 1, H, W) in [0, 1] in, logits (B, 1, H, W) out."""

from torch import nn


class MyNet(nn.Sequential):
    def __init__(self, in_channels: int = 1, width: int = 16):
        super().__init__(
            nn.Conv2d(in_channels, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 1, kernel_size=1),
        )
'''


def demo(
    out: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="Output folder.")] = Path(
        "taichinet-demo"
    ),
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Seed of the phantoms.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Segment example images, show what folds prevent, and compare TaiChiNet with U-Net on simulated images.

    Writes the results to index.html, which can be sent as one file.
    """
    import json
    import time

    from rich.console import Console

    from taichinet.cli.demo_output import DemoPrinter, next_steps
    from taichinet.datasets.examples import write_examples
    from taichinet.experiments.provenance import describe_machine
    from taichinet.reports.demo.page import write_demo
    from taichinet.reports.demo.results import DemoResults, results_json, segment_examples
    from taichinet.storage.atomic import write_text

    start = time.perf_counter()
    use_and_print(device)
    console = Console(stderr=True, quiet=as_json, soft_wrap=True)
    printer = DemoPrinter(quiet=as_json)
    _refuse_other_folder(out)
    write_examples(out / "examples")
    segmented, seconds = segment_examples()
    printer.print_examples(segmented)
    data, leaks = _fold_phantoms(out, seed, console)
    printer.print_leaks(leaks)
    studies = _train(data, out, as_json)
    comparison, machine = _compare(studies, out), describe_machine()
    elapsed = time.perf_counter() - start
    results = DemoResults(segmented, seconds, leaks, data.manifest, studies, comparison, machine, elapsed)
    printer.print_comparison(results)
    if not (out / "mynet.py").exists():  # otherwise it may be the network of the user
        write_text(out / "mynet.py", OWN_NETWORK)
    steps = next_steps(out)
    page = write_demo(out, results, steps)
    if as_json:
        print(json.dumps({"page": str(page), **results_json(results)}))
    printer.print_end(page, steps, time.perf_counter() - start)


def _refuse_other_folder(out: Path) -> None:
    """Raise StorageError if `out` has files and is not the folder of an earlier demo, whose folds are replaced."""
    from taichinet.datasets.phantoms.folder import MARKER
    from taichinet.errors import StorageError

    first = ("examples", "phantoms")  # what a demo writes before anything else
    other = [path.name for path in out.glob("[!.]*") if path.name not in first]
    if other and not (out / "phantoms" / MARKER).is_file():
        raise StorageError(
            f"{out} has other files ({min(other)}), and the demo replaces its folder. Give a new folder as --output."
        )


def _fold_phantoms(out: Path, seed: int, console: Console) -> tuple[StudyData, Leaks]:
    """Simulate the phantoms and draw grouped folds; random folds are drawn for comparison only."""
    from taichinet.datasets.folds import make_folds
    from taichinet.datasets.phantoms.folder import known_duplicates, write_phantom_busi
    from taichinet.experiments.experiment import vary
    from taichinet.experiments.recipes.catalogue import get_recipe
    from taichinet.experiments.study_data import open_study_data
    from taichinet.reports.demo.results import count_leaks

    console.print("simulating images, finding near-duplicates, drawing folds")
    benign, malignant, normal = PHANTOMS.values()
    phantoms = write_phantom_busi(
        out / "phantoms", benign, malignant, normal, seed, PHANTOM_SIZE, near_duplicates=NEAR_DUPLICATES
    )
    for plan in (out / "folds").glob("*.json"):  # they may belong to phantoms of another seed
        plan.unlink()
    experiment = vary(get_recipe(RECIPES[0]), CHANGES)
    data = open_study_data(experiment, phantoms, "grouped", out)
    random = make_folds(data.manifest, data.plan.groups, "paper", data.plan.seed, data.plan.count)
    return data, count_leaks(known_duplicates(benign, malignant, NEAR_DUPLICATES), random, data.plan)


def _train(data: StudyData, out: Path, quiet: bool) -> list[Study]:
    """Train the networks on fold 0."""
    from taichinet.cli.progress import training_progress
    from taichinet.experiments.cross_validate import Callbacks, train_folds
    from taichinet.experiments.experiment import vary
    from taichinet.experiments.recipes.catalogue import get_recipe

    studies = []
    with training_progress(quiet=quiet) as progress:
        for name in RECIPES:
            progress.begin(name)
            experiment = vary(get_recipe(name), CHANGES)
            studies.append(train_folds(experiment, data, [0], out, "overwrite", Callbacks(on_epoch=progress.epoch)))
    return studies


def _compare(studies: Sequence[Study], out: Path) -> Comparison:
    """Test the first network against the second, as `compare --against`."""
    from taichinet.evaluation.uncertainty import RESAMPLES
    from taichinet.reports.paper_tables.comparisons import compare_against
    from taichinet.reports.paper_tables.runs import read_groups, read_methods

    methods = read_methods(*(study.folder for study in studies))
    return compare_against(methods, RECIPES[1], read_groups(out), RESAMPLES).comparisons[0]
