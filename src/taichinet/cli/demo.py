"""`taichinet demo`: the complete pipeline on simulated phantoms, in about seven minutes on two cores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import AsJson

PHANTOMS = {"benign": 90, "malignant": 60, "normal": 25}
RECIPES = ("demo-taichinet", "demo-unet")


def demo(
    out: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="Output folder.")] = Path(
        "taichinet-demo"
    ),
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Seed of the phantoms.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Simulate phantoms, draw folds, mine easy and hard pixels, train and evaluate TaiChiNet and U-Net.

    Writes the results to index.html.
    """
    import time

    from rich.console import Console

    from taichinet.cli.printing import print_demo
    from taichinet.cli.progress import training_progress
    from taichinet.datasets.phantoms.folder import write_phantom_busi
    from taichinet.experiments.cross_validate import Callbacks, train_folds
    from taichinet.experiments.provenance import describe_machine
    from taichinet.experiments.recipes.catalogue import get_recipe
    from taichinet.experiments.study_data import open_study_data
    from taichinet.reports.demo import write_demo
    from taichinet.reports.run_images import RunImages

    start = time.perf_counter()
    use_and_print(device)
    console = Console(stderr=True, quiet=as_json, soft_wrap=True)
    benign, malignant, normal = PHANTOMS.values()
    data = write_phantom_busi(out / "phantoms", benign, malignant, normal, seed)
    for plan in (out / "folds").glob("*.json"):  # they may belong to phantoms of another seed
        plan.unlink()
    console.print("reading images, finding near-duplicates, drawing folds")
    studies = []
    with training_progress(quiet=as_json) as progress:
        for name in RECIPES:
            experiment = get_recipe(name)
            study_data = open_study_data(experiment, data, "grouped", out)
            progress.begin(name)
            callbacks = Callbacks(on_epoch=progress.epoch, observers=(RunImages,))
            studies.append(train_folds(experiment, study_data, [0], out, "overwrite", callbacks))
    console.print("writing the page")
    page = write_demo(out, study_data.manifest, studies, describe_machine())
    print_demo(page, studies, time.perf_counter() - start, as_json)
