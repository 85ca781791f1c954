"""The last lines of `train`: where the results are, and the commands that use them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

_DEFAULTS = {"--protocol": "grouped", "--device": "auto"}


@dataclass(frozen=True)
class TrainCommand:
    """A `train` command.

    Attributes:
        recipe: Recipe or FILE.py:CLASS.
        data: The data sets as given.
        out: Folder of all runs.
        options: Further options with their values.
    """

    recipe: str
    data: Sequence[str]
    out: Path
    options: Sequence[tuple[str, str]]

    @classmethod
    def of(
        cls,
        recipe: str,
        data: Sequence[str],
        out: Path,
        settings: Sequence[str],
        options: Sequence[tuple[str, str | None]],
    ) -> TrainCommand:
        """The command with the `settings` of --set and those of `options` that differ from the default."""
        given = [(name, value) for name, value in options if value not in (None, _DEFAULTS.get(name))]
        return cls(recipe, data, out, [*(("--set", setting) for setting in settings), *given])

    @property
    def line(self) -> str:
        """The command for a shell, without folds."""
        given = [("--data", spec) for spec in self.data]
        given += self.options
        given += [] if self.out == Path("runs") else [("--output", str(self.out))]
        return shlex.join(["taichinet", "train", self.recipe, *(word for option in given for word in option)])


def print_next_steps(command: TrainCommand, folder: Path, count: int, regions: int) -> None:
    """Print the files of a study and the next commands, which can be run as printed, apart from IMAGES.

    Args:
        command: The command that has ended.
        folder: Folder of the study.
        count: Number of folds.
        regions: Number of regions of the masks; `predict` segments one.
    """
    from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, SUMMARY_FILE
    from taichinet.experiments.training_run import RUN_IMAGES
    from taichinet.models.own_code import names_file

    out = command.out
    report_folder = f"{out.absolute().name}-report"
    trusted = ["--trust-code"] if names_file(command.recipe) else []
    predict = shlex.join(["taichinet", "predict", "-w", str(folder), *trusted, "-o", "masks"])
    steps = [("report on all runs", shlex.join(["taichinet", "report", str(out), "-o", report_folder]))]
    if regions == 1:
        steps.append(("masks of new images", f"{predict} IMAGES"))
    remaining = [fold for fold in range(count) if not (folder / f"fold-{fold}" / RESULT_FILE).is_file()]
    if remaining:
        folds = " ".join(f"--fold {fold}" for fold in remaining)
        steps.insert(0, ("remaining folds", f"{command.line} {folds}"))
    else:
        steps.append(("one network for use", f"{command.line} --all-images"))
    typer.echo(f"Scores: {folder / SUMMARY_FILE}, and per image {folder / SCORES_FILE}")
    typer.echo(f"Images: {' and '.join(RUN_IMAGES)} in {folder / 'fold-*'}")
    typer.echo("Next:")
    for title, text in steps:
        typer.echo(f"  {title + ':':<21}{text}")
