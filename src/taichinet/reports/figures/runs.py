"""Completed runs below a folder, and the runs that a figure can show together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote

import pandas as pd

from taichinet.errors import DataError, FoldError, WeightsError
from taichinet.experiments.recipes.catalogue import SCALES
from taichinet.experiments.records import RESULT_FILE, FoldRecord, read_fold, read_record
from taichinet.models.weights import CONFIG_FILE, WEIGHTS_FILE
from taichinet.storage.digest import digest_file

SAME_RECIPE = {"model-1": "unet"}  # Model 1 of Table I is the baseline U-Net under another name


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """One completed fold with its weights. `scale` and `row` are the two parts of the name of its recipe."""

    folder: Path
    scale: str
    row: str
    record: FoldRecord

    @property
    def recipe(self) -> str:
        """Name of the recipe, SCALE-ROW."""
        return f"{self.scale}-{self.row}"

    @property
    def fold(self) -> int:
        """Index of the test fold."""
        return self.record.fold

    @property
    def weights(self) -> Path:
        """The weights folder; raises WeightsError if files are missing."""
        folder = self.folder / "weights"
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise WeightsError(f"No {name} in {folder}. Train {self.recipe} again, or restore its weights.")
        return folder

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the weights file."""
        return digest_file(self.weights / WEIGHTS_FILE)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of the test images, by key."""
        scores = read_fold(self.folder).scores
        return scores.set_index(scores["key"].astype(str), drop=False)


def find_runs(root: Path) -> tuple[TrainedRun, ...]:
    """All completed runs below `root` of recipes with a known scale.

    Raises:
        DataError: There are none, or files cannot be read; all of these are listed.
    """
    runs: list[TrainedRun] = []
    problems: list[str] = []
    for path in sorted(root.rglob(RESULT_FILE)):
        try:
            record = read_record(path, FoldRecord)
        except DataError as error:
            problems.append(str(error))
            continue
        scale, _, row = record.experiment.name.partition("-")
        if scale in SCALES and row:
            runs.append(TrainedRun(path.parent, scale, row, record))
    if problems:
        raise DataError(f"{len(problems)} results under '{root}' cannot be read. Train them again:", problems)
    if not runs:
        raise DataError(f"No finished run under '{root}'. Give the --out folder of `taichinet train`.")
    return tuple(runs)


def take_together(runs: Sequence[TrainedRun], rows: Sequence[str], data: str, out: Path) -> dict[str, TrainedRun]:
    """Select one run for each of `rows` (recipes without scale), all of the same scale, fold protocol and fold.

    The first complete set is selected, in the order busi, cpu, short, demo; grouped folds first; lower folds first. If
    no set is complete, the message of the FoldError has the commands that train the missing runs, with the data set
    `data` and the folder `out`.
    """
    sets: dict[tuple[int, bool, str, int], dict[str, TrainedRun]] = {}
    for run in runs:
        place = (tuple(SCALES).index(run.scale), run.record.protocol != "grouped", run.record.protocol, run.fold)
        sets.setdefault(place, {})[run.row] = run
    choices = [
        (place, {row: named for row in rows if (named := _named(row, held)) is not None})
        for place, held in sorted(sets.items(), key=lambda item: item[0])
    ]
    for _, chosen in choices:
        if len(chosen) == len(rows):
            return chosen
    place, fullest = max(choices, key=lambda it: len(it[1]), default=((len(SCALES) - 1, False, "grouped", 0), {}))
    scale, protocol, fold = tuple(SCALES)[place[0]], place[2], place[3]
    missing = [row for row in rows if row not in fullest]
    place_of_runs = f"--data {quote(data)} --protocol {protocol} --fold {fold} --out {quote(str(out))}"
    commands = [f"taichinet train {scale}-{row} {place_of_runs}" for row in missing]
    names = ", ".join(f"{scale}-{row}" for row in missing)
    raise FoldError(
        f"Runs are missing that the figure needs: {names} (fold {fold}, {protocol}). Train them:\n  "
        + "\n  ".join(commands)
    )


def _named(row: str, held: dict[str, TrainedRun]) -> TrainedRun | None:
    return held.get(row) or held.get(SAME_RECIPE.get(row, row))
