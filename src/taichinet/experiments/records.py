"""Files of a run folder: one typed class for each kind of record, and scores.csv.

result.json holds a `FoldRecord` (one trained fold), summary.json a `StudyRecord` (all folds of a recipe) or an
`EvaluationRecord` (`taichinet evaluate`). Each record has the row count and SHA-256 of the scores.csv beside it. The
names of the fields are the keys of the files. Fields that were added later have a default, so that files of earlier
versions are read; unknown keys are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
import yaml
from pydantic import Field, ValidationError

from taichinet.errors import DataError, FoldError, SettingError, TaiChiNetError
from taichinet.evaluation.aggregate import COLUMNS, Summary
from taichinet.evaluation.calibration import pool
from taichinet.evaluation.confidence import ConfidenceKeeper
from taichinet.evaluation.decision import Decision
from taichinet.evaluation.operating_point import OperatingPoint
from taichinet.experiments.experiment import Experiment
from taichinet.models.catalogue import CATALOGUE
from taichinet.settings import Record
from taichinet.storage.atomic import write_bytes, write_json, write_text
from taichinet.storage.csv_cells import escape_cell, unescape_cell
from taichinet.storage.digest import digest_bytes
from taichinet.storage.documents import read_json, read_yaml

RESULT_FILE, SUMMARY_FILE, SCORES_FILE, SETTINGS_FILE = "result.json", "summary.json", "scores.csv", "experiment.yaml"
TRAINING_FILE = "training.json"
RECORD_VERSION = 1  # increased if older versions of the package can no longer read a record
SEPARATORS = {";": "semicolon", "\t": "tab", "|": "vertical bar"}
_TEXT = ("key", "label", "region", "dataset")


class ScoresRecord(Record):
    """Row count and SHA-256 of the scores.csv beside the record."""

    rows: int
    sha256: str


class SplitRecord(Record):
    """Number of images in each part of the split."""

    train: int
    validation: int
    test: int = 0


class SelectionRecord(Record):
    """The epoch whose weights were selected, the rule, the images, and their Dice (None without images).

    `stopped_after` is the number of epochs after which early stopping ended the training; None if it did not.
    """

    rule: str
    on: str
    epoch: int
    validation_dice: float | None = None
    stopped_after: int | None = None


class MiningRecord(Record):
    """The mined regions that a fold was trained with; `identity` is the name of their folder in the mining cache."""

    identity: str
    seconds: float | None = None
    easy_share_of_lesion: float | None = None
    hard_share_of_lesion: float | None = None
    images_without_easy_part: int | None = None
    images_without_hard_part: int | None = None


class CalibrationRecord(Record):
    """Calibration of one network on the scored images, for one region; None without a pixel in the range."""

    region: str
    ece_all_pixels: float | None
    ece_uncertain_pixels: float | None
    brier_all_pixels: float | None

    @classmethod
    def of(cls, confidences: ConfidenceKeeper) -> CalibrationRecord:
        """The calibration over all images of `confidences`."""
        by_key = confidences.by_key.values()
        whole, uncertain = pool(c.whole for c in by_key), pool(c.uncertain for c in by_key)
        return cls(
            region=confidences.region,
            ece_all_pixels=_rounded(whole.ece),
            ece_uncertain_pixels=_rounded(uncertain.ece),
            brier_all_pixels=_rounded(whole.brier),
        )


class FileRecord(Record):
    """A record that is a file of its own."""

    version: int = RECORD_VERSION

    def to_json_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return self.model_dump(mode="json")


class FoldRecord(FileRecord):
    """result.json of a fold: written last, so a fold with this file is complete.

    Attributes:
        identity: Digest of all inputs that determine the result, see experiments/identity.py.
        teacher: SHA-256 of the teacher's weights; None without a teacher.
        initial_weights: SHA-256 of the weights that the training started from; None (absent in the file) without them.
        placement: Device, precision and memory layout.
        inference_seconds_per_image: Median over batches.
        wall_seconds: Duration including mining and scoring, over all processes that worked on the fold.
        calibration: Calibration on the test images; None in files of earlier versions.
        decision: The decision that was chosen on the validation images, with which the test images were scored, and its
            figures on the validation images; None (absent in the file) for a threshold of 0.5 only.
        copied_from: The run folder of an identical training whose result was copied; None for a trained fold.
    """

    identity: str
    experiment: Experiment
    dataset: str
    dataset_digest: str
    protocol: str
    fold: int
    folds: int
    fold_seed: int
    images: SplitRecord
    selection: SelectionRecord
    mining: MiningRecord | None = None
    teacher: str | None = None
    parameters: int
    gflops: float | None = None
    placement: str
    inference_seconds_per_image: float | None = None
    wall_seconds: float
    commit: str | None
    machine: dict[str, Any] = Field(default_factory=dict)
    scores: ScoresRecord | None = None
    summary: Summary
    calibration: CalibrationRecord | None = None
    decision: OperatingPoint | None = None
    copied_from: str | None = None
    initial_weights: str | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """The content of the file; `copied_from` is absent for a trained fold, `decision` if none was chosen."""
        absent = {name for name in ("copied_from", "decision", "initial_weights") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=absent)


class TrainingRecord(FileRecord):
    """training.json of a network that was trained on all images: written last, so a folder with it is complete.

    Attributes:
        identity: As in `FoldRecord`.
        dataset_digest, protocol, folds, fold_seed: The plan of the folds that measure the recipe.
        images: Number of images, all of which are training images.
        decision: The mean of the decisions of `decision_folds`; None for a threshold of 0.5 only.
        decision_folds: The folds of the same settings and images that were complete.
        wall_seconds: Duration including mining, over all processes that worked on it.
    """

    identity: str
    experiment: Experiment
    dataset: str
    dataset_digest: str
    protocol: str
    folds: int
    fold_seed: int
    images: int
    decision: Decision | None
    decision_folds: tuple[int, ...]
    parameters: int
    gflops: float | None = None
    placement: str
    wall_seconds: float
    commit: str | None
    machine: dict[str, Any] = Field(default_factory=dict)


class StudyFoldRecord(Record):
    """What a study records of each fold."""

    fold: int
    wall_seconds: float | None = None
    images: SplitRecord | None = None
    selection: SelectionRecord | None = None
    mining: MiningRecord | None = None
    commit: str | None = None


class StudyRecord(FileRecord):
    """summary.json of a study: one recipe under one fold protocol.

    Attributes:
        folds: Number of folds of the plan.
        folds_done: The completed folds.
        outputs: Mean Dice of each output of a two-path network.
    """

    experiment: Experiment
    dataset: str
    dataset_digest: str = ""
    protocol: str
    folds: int
    fold_seed: int
    folds_done: tuple[int, ...]
    parameters: int
    gflops: float | None = None
    placement: str
    commit: str | None
    machine: dict[str, Any]
    wall_seconds: float | None
    inference_seconds_per_image: float | None = None
    per_fold: tuple[StudyFoldRecord, ...] = ()
    outputs: dict[str, float | None] = Field(default_factory=dict)
    summary: Summary
    scores: ScoresRecord | None = None

    @property
    def network(self) -> str:
        """Title of the network."""
        title = network_title(self.experiment.model)
        return f"Two-path {title}" if self.experiment.options.get("second_path") and title != "TaiChiNet" else title

    @property
    def commits(self) -> tuple[str, ...]:
        """The commits that the folds were trained with, in the order of the folds."""
        commits: list[str | None] = [record.commit for record in self.per_fold]
        if not any(commits):
            commits = [self.commit]
        return tuple(dict.fromkeys(commit for commit in commits if commit))


class NetworkRecord(Record):
    """One evaluated network: its origin, the number of scored images, and its calibration on them.

    Attributes:
        decision: The decision in config.json of the weights; None for a threshold only.
        trained: Provenance of the weights: recipe, data set, protocol, fold and commit, as far as recorded.
        compared_with_training: How the images were compared with the training images.
        near_duplicates: Keys of near-duplicates of training images.
    """

    model: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    size: int | None = None
    threshold: float | None = None
    decision: dict[str, Any] | None = None
    trained: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str | None = None
    placement: str = ""
    images: int | None = None
    compared_with_training: str = ""
    near_duplicates: tuple[str, ...] | Literal["not checked"] = "not checked"
    calibration: CalibrationRecord | None = None


def _rounded(value: float) -> float | None:
    return None if isnan(value) else round(value, 6)


class ImageCountsRecord(Record):
    """How many images were used, have an empty mask, and were skipped, and the reasons."""

    used: int
    empty_mask: int
    skipped: int
    why: tuple[str, ...] = ()


class ShiftScores(Record):
    """Scores under a shift of the suite in `datasets/ultrasound/shifts.py`, at input resolution.

    Attributes:
        shift: Name of the shift; "none" for the unchanged images.
        lesion_images: Images with a lesion in the changed image.
        dice: Their mean Dice.
        lost_dice: Mean loss of Dice of these images against the unchanged ones.
        normal_images: Images without a lesion.
        false_positive_rate: Share of them with a prediction; None without such images.
    """

    shift: str
    lesion_images: int
    dice: float | None
    lost_dice: float | None
    normal_images: int
    false_positive_rate: float | None


class EvaluationRecord(FileRecord):
    """summary.json of an evaluation: scores of one or several networks on a data set.

    Attributes:
        mirrored: Whether probabilities are means over the image and its mirror image; absent in the file if not.
        shifts: Scores under the shift suite; absent in the file if not requested.
    """

    dataset: str = ""
    dataset_digest: str = ""
    note: str = ""
    left_out: tuple[str, ...] = ()
    images: ImageCountsRecord | None = None
    networks: tuple[NetworkRecord, ...] = ()
    wall_seconds: float | None = None
    commit: str | None = None
    machine: dict[str, Any] = Field(default_factory=dict)
    summary: Summary
    scores: ScoresRecord | None = None
    mirrored: bool = False
    shifts: tuple[ShiftScores, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return self.model_dump(
            mode="json", exclude={name for name in ("mirrored", "shifts") if not getattr(self, name)}
        )


RecordT = TypeVar("RecordT", bound=FileRecord)


def write_record(path: Path, record: FileRecord) -> None:
    """Write `record` as JSON, atomically; raises StorageError."""
    write_json(path, record.to_json_dict())


def read_record(
    path: Path, kind: type[RecordT], error: type[TaiChiNetError] = DataError, remedy: str = "Delete the file."
) -> RecordT:
    """Read a record.

    Args:
        path: The JSON file.
        kind: Class of the record.
        error: Class of the error that is raised.
        remedy: Last sentence of the error message.

    Returns:
        The record.

    Raises:
        TaiChiNetError: Of class `error`: the file is absent or damaged, lacks a required key, or was written by a newer
            version with another format.
    """
    if not path.is_file():
        raise error(f"No {path.name} in {path.parent}. {remedy}")
    return parse_record(read_json(path, error, remedy), kind, path, error, remedy)


def parse_record(
    content: Any, kind: type[RecordT], path: Path, error: type[TaiChiNetError] = DataError, remedy: str = ""
) -> RecordT:
    """The record of class `kind` in the parsed JSON `content` of `path`; raises `error` as `read_record` does."""
    try:
        record = kind.model_validate(content)
    except (SettingError, ValidationError) as fault:
        raise error(f"{path} cannot be read: {describe_fault(fault)}. {remedy}".rstrip()) from fault
    if record.version > RECORD_VERSION:
        raise error(f"{path} was written by a newer version of taichinet. Update taichinet to read it.")
    return record


def describe_fault(error: Exception) -> str:
    """For messages: the first fault that pydantic found, preceded by its key."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    return f"{key + ': ' if key else ''}{first['msg']}"


def is_evaluation(content: object) -> bool:
    """Whether the parsed summary.json is that of an evaluation. Earlier versions wrote "weights" for "networks"."""
    return isinstance(content, dict) and not {"networks", "weights"}.isdisjoint(content) and "experiment" not in content


def network_title(model: str) -> str:
    """Title of a network of the catalogue; `model` itself if it is unknown."""
    return CATALOGUE[model].title if model in CATALOGUE else model


@dataclass(frozen=True)
class FoldResult:
    """A completed fold: its run folder, its record, and its per-image scores."""

    folder: Path
    scores: pd.DataFrame
    record: FoldRecord


def read_fold(folder: Path, identity: str | None = None, change: str = "") -> FoldResult:
    """Read a completed fold.

    Args:
        folder: The run folder.
        identity: Expected identity; None to accept any.
        change: Description of the difference between the settings, for the error message.

    Returns:
        The fold.

    Raises:
        FoldError: A file cannot be read, or the fold was trained with other settings, images or folds.
    """
    record = read_record(folder / RESULT_FILE, FoldRecord, FoldError, "Delete the folder.")
    try:
        scores = read_scores(folder / SCORES_FILE, record.scores)
    except (OSError, ValueError, DataError) as error:
        raise FoldError(f"The completed fold in {folder} cannot be read ({error}). Delete the folder.") from error
    if identity is not None and record.identity != identity:
        raise FoldError(
            f"The completed fold in {folder} was trained with other settings, images or folds{change}. Give another "
            "--output, or replace it with --overwrite instead of --resume."
        )
    return FoldResult(folder, scores, record)


def write_settings(experiment: Experiment, folder: Path) -> None:
    """Write the settings of the run to `folder`/experiment.yaml; raises StorageError."""
    write_text(folder / SETTINGS_FILE, yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))


def read_settings(folder: Path) -> Experiment | None:
    """The recorded settings of the run in `folder`; None if they are absent or not valid in this version."""
    try:
        return Experiment.model_validate(read_yaml(folder / SETTINGS_FILE))
    except (DataError, ValidationError):
        return None


def write_scores(path: Path, scores: pd.DataFrame) -> ScoresRecord:
    """Write per-image scores with `COLUMNS` as CSV, atomically, and return their record; raises StorageError."""
    content = _map_text(scores, escape_cell).to_csv(index=False).encode()
    write_bytes(path, content)
    return ScoresRecord(rows=len(scores), sha256=digest_bytes(content))


def read_scores(path: Path, record: ScoresRecord | None) -> pd.DataFrame:
    """Read per-image scores and compare them with their record.

    Args:
        path: The scores.csv.
        record: Row count and digest; None for files of earlier versions, which are not checked.

    Returns:
        One row for each image and region; keys and labels are strings.

    Raises:
        DataError: The file cannot be read, is not separated by commas, lacks columns, or differs from its record.
    """
    try:
        content = path.read_bytes()
        types = dict.fromkeys(_TEXT, str)
        rows = pd.read_csv(BytesIO(content), dtype=types, keep_default_na=False, na_values=[""])  # a key may be "NA"
    except (OSError, ValueError) as error:
        raise DataError(f"The scores in {path} cannot be read ({error}). Evaluate the run again.") from error
    _refuse_missing_columns(path, rows)
    if record is not None and (len(rows) != record.rows or digest_bytes(content) != record.sha256):
        raise DataError(
            f"{path} has {len(rows)} rows and SHA-256 {digest_bytes(content)[:12]}; when it was written it had "
            f"{record.rows} and {record.sha256[:12]}. Restore the file, or train with --resume or evaluate again, "
            "which rewrites it."
        )
    return _map_text(rows, unescape_cell)


def _map_text(rows: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """`rows` with `change` applied to every cell of the text columns."""
    return rows.assign(**{column: rows[column].map(change) for column in _TEXT if column in rows})


def _refuse_missing_columns(path: Path, rows: pd.DataFrame) -> None:
    missing = [column for column in COLUMNS if column not in rows]
    if not missing:
        return
    header = ",".join(map(str, rows.columns))
    for separator, name in SEPARATORS.items():
        if separator in header:
            raise DataError(
                f"{path} is separated by '{separator}' ({name}), not by commas. Save it as CSV with commas and "
                "decimal points, or evaluate the run again."
            )
    raise DataError(f"{path} lacks the columns {', '.join(missing)}. Evaluate the run again.")
