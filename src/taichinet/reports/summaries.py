"""Reading the summary.json files that trainings wrote: typed, and every torn one named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.evaluation.undefined import SCORES, EmptyTruthPolicy, ImageSize
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.records import ScoresRecord
from taichinet.models.catalogue import CATALOGUE
from taichinet.storage.documents import read_json

NAME = "summary.json"


def network_title(model: str) -> str:
    """The name that tables print for a network of the catalogue."""
    return CATALOGUE[model].title if model in CATALOGUE else model


class _Read(BaseModel):
    """Part of a summary.json; keys that no table needs are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Score(_Read):
    """Mean over folds and deviation over folds, and the fold means behind them; None where it does not exist."""

    mean: float | None
    std: float | None
    per_fold: dict[int, float | None] = {}


def _with_every_score(scores: dict[str, Score]) -> dict[str, Score]:
    missing = [name for name in SCORES if name not in scores]
    if missing:
        raise ValueError(f"lacks the scores {', '.join(missing)}")
    return scores


Scores = Annotated[dict[str, Score], AfterValidator(_with_every_score)]


class Group(_Read):
    """Scores of the images of one group, see `GroupScores`."""

    group: str
    policy: EmptyTruthPolicy | None
    images: int
    network: Scores
    native: Scores

    def score(self, name: str, size: ImageSize = "network") -> Score:
        """The score `name` at `size`."""
        return (self.network if size == "network" else self.native)[name]


class Normals(_Read):
    """What was found in normal images, see `NormalImages`."""

    images: int
    false_positive_rate: float | None
    mean_false_positive_area: float | None


class SummaryContent(_Read):
    """`Summary` as its to_json_dict wrote it."""

    groups: tuple[Group, ...]
    normal_images: Normals


class FoldRecord(_Read):
    """One finished fold."""

    fold: int
    commit: str | None = None


class Selection(_Read):
    """Which epoch's weights were kept, by which rule and on which images."""

    rule: str
    on: str
    epoch: int


class PartSizes(_Read):
    """Numbers of images."""

    train: int
    validation: int


class FoldFile(_Read):
    """The result.json of a finished fold."""

    experiment: Experiment
    dataset: str
    protocol: str
    fold: int
    folds: int
    fold_seed: int
    images: PartSizes
    selection: Selection
    parameters: int
    placement: str
    commit: str | None
    summary: SummaryContent


class SummaryFile(_Read):
    """The summary.json of one recipe under one fold protocol."""

    experiment: Experiment
    dataset: str
    dataset_digest: str = ""
    protocol: str
    folds: int
    folds_done: tuple[int, ...]
    fold_seed: int
    parameters: int
    gflops: float | None = None
    placement: str
    wall_seconds: float | None
    inference_seconds_per_image: float | None = None
    commit: str | None
    machine: dict[str, Any]
    per_fold: tuple[FoldRecord, ...] = ()
    outputs: dict[str, float | None] = {}
    scores: ScoresRecord | None = None
    summary: SummaryContent

    @property
    def network(self) -> str:
        """The network's name as the tables print it."""
        title = network_title(self.experiment.model)
        return f"Two-path {title}" if self.experiment.options.get("second_path") and title != "TaiChiNet" else title

    @property
    def commits(self) -> tuple[str, ...]:
        """Every commit that took part, in the order of the folds."""
        commits: list[str | None] = [record.commit for record in self.per_fold]
        if not any(commits):
            commits = [self.commit]
        return tuple(dict.fromkeys(commit for commit in commits if commit))


def read_fold_file(run: Path) -> FoldFile:
    """The result.json in the run folder `run`; WeightsError where the fold is not finished or the file is damaged."""
    remedy = "Give the folder of one finished fold, e.g. runs/busi/cpu-taichinet/grouped/fold-0."
    path = run / "result.json"
    if not path.is_file():
        raise WeightsError(f"No result.json in {run}. {remedy}")
    try:
        return FoldFile.model_validate(read_json(path, WeightsError, remedy))
    except (SettingError, ValidationError) as error:
        raise WeightsError(f"{path} cannot be read: {what_is_wrong(error)}. {remedy}") from error


def read_summaries(folder: Path) -> list[SummaryFile]:
    """Every summary.json below `folder` that a training wrote, sorted by data set, protocol and recipe."""
    return list(find_summaries(folder).values())


def find_summaries(folder: Path) -> dict[Path, SummaryFile]:
    """The same by the path of the file.

    Those that `taichinet evaluate` wrote tell no recipe and are passed over. DataError names every torn file.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Give the --out folder of `taichinet train`.")
    paths = sorted(folder.rglob(NAME))
    found: list[tuple[Path, SummaryFile]] = []
    problems: list[str] = []
    for path in paths:
        try:
            content = read_json(path)
            if not _is_evaluation(content):
                found.append((path, SummaryFile.model_validate(content)))
        except (DataError, SettingError, ValidationError) as error:
            problems.append(f"{path}: {what_is_wrong(error)}")
    if problems:
        raise DataError(
            f"{len(problems)} of {len(paths)} summaries under '{folder}' cannot be read. Train their recipes "
            "again with --resume, which rewrites the summary, or move them away.",
            problems,
        )
    if not found:
        raise DataError(f"No {NAME} of a training lies under '{folder}'. Give the --out folder of `taichinet train`.")

    def order(item: tuple[Path, SummaryFile]) -> tuple[str, bool, str, str]:
        summary = item[1]
        return (
            summary.dataset,
            summary.experiment.data.include_normal,
            summary.protocol,
            summary.experiment.name,
        )

    return dict(sorted(found, key=order))


def what_is_wrong(error: Exception) -> str:
    """The first thing that is wrong with a file, with its place in it."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place + ': ' if place else ''}{first['msg']}"


def _is_evaluation(content: object) -> bool:
    """Whether `taichinet evaluate` wrote it: networks (once: weights), but no experiment."""
    return isinstance(content, dict) and not {"networks", "weights"}.isdisjoint(content) and "experiment" not in content
