"""The last lines of `train`: where the results are, and the commands that use them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import typer


def print_next_steps(recipe: str, data: Sequence[str], out: Path, folder: Path, count: int) -> None:
    """Print the files of a study and the next commands.

    Args:
        recipe: Name of the recipe.
        data: The data sets as given.
        out: Folder of all runs.
        folder: Folder of the study.
        count: Number of folds.
    """
    from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, SUMMARY_FILE
    from taichinet.experiments.training_run import RUN_IMAGES

    train = shlex.join(["taichinet", "train", recipe, *(word for spec in data for word in ("--data", spec))])
    train += "" if out == Path("runs") else f" --output {shlex.quote(str(out))}"
    steps = [
        ("report on all runs", shlex.join(["taichinet", "report", str(out), "-o", f"{out.name}-report"])),
        ("masks of new images", shlex.join(["taichinet", "predict", "-w", str(folder), "-o", "masks"]) + " IMAGES"),
    ]
    remaining = [fold for fold in range(count) if not (folder / f"fold-{fold}" / RESULT_FILE).is_file()]
    if remaining:
        folds = " ".join(f"--fold {fold}" for fold in remaining)
        steps.insert(0, ("remaining folds", f"{train} {folds}"))
    else:
        steps.append(("one network for use", f"{train} --all-images"))
    typer.echo(f"Scores: {folder / SUMMARY_FILE}, and per image {folder / SCORES_FILE}")
    typer.echo(f"Images: {' and '.join(RUN_IMAGES)} in {folder / 'fold-*'}")
    typer.echo("Next, with the same --set, --seed, --from, --protocol and --group-by as in this command:")
    for title, command in steps:
        typer.echo(f"  {title + ':':<21}{command}")
