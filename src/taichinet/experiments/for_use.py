"""A network that was trained on all images, together with the cross-validated folds that measure its recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from taichinet.errors import FoldError, WeightsError
from taichinet.evaluation.decision import stored_decision
from taichinet.experiments.all_images import FOLDER, decision_of
from taichinet.experiments.identity import STUDY_FIELDS, describe_changes, differences
from taichinet.experiments.records import (
    RESULT_FILE,
    SUMMARY_FILE,
    TRAINING_FILE,
    EvaluationRecord,
    FoldResult,
    TrainingRecord,
    is_evaluation,
    read_fold,
    read_record,
)
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import WEIGHTS_FILE, LoadedWeights
from taichinet.storage.digest import digest_file
from taichinet.storage.documents import read_json


@dataclass(frozen=True)
class NetworkForUse:
    """A network that was trained on all images, and the folds of the same recipe.

    Attributes:
        study: The study folder.
        record: The training on all images.
        weights: Its weights.
        folds: All folds, in order. Their networks were tested on images that they were not trained on.
    """

    study: Path
    record: TrainingRecord
    weights: LoadedWeights
    folds: tuple[FoldResult, ...]

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets of the training."""
        return tuple(self.record.dataset.split("+"))

    @property
    def images(self) -> dict[str, int]:
        """Number of training images of each data set."""
        if len(self.datasets) == 1:
            return {self.record.dataset: self.record.images}
        keys = self.weights.config.provenance["train_keys"]
        return {name: sum(key.startswith(f"{name}/") for key in keys) for name in self.datasets}

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Per-image scores of the test images of all folds, for the first region."""
        rows = pd.concat([fold.scores for fold in self.folds], ignore_index=True)
        return rows[rows["region"] == rows["region"].iloc[0]].reset_index(drop=True) if "region" in rows else rows


def read_network_for_use(path: Path, trust_code: bool = False) -> NetworkForUse:
    """Read a network that was trained on all images, and its folds.

    Args:
        path: The study folder, or the folder `all-images` in it.
        trust_code: Whether the code of a network from outside the package may be executed, see `load_weights`.

    Returns:
        The network and the folds.

    Raises:
        WeightsError: There is no such training, or its weights cannot be read.
        FoldError: A fold is not complete, the folds have other settings or images, or the decision is not the mean of
            the decisions of all folds.
    """
    study = path.absolute().parent if path.name == FOLDER else path
    folds = tuple(read_fold(file.parent) for file in study.glob(f"fold-*/{RESULT_FILE}"))
    folds = tuple(sorted(folds, key=lambda fold: fold.record.fold))
    remedy = f"Train it with the command and settings of the folds and --all-images{_example(study, folds)}."
    if not (study / FOLDER / TRAINING_FILE).is_file():
        raise WeightsError(f"{study} has no complete training on all images ({FOLDER}/{TRAINING_FILE}). {remedy}")
    record = read_record(study / FOLDER / TRAINING_FILE, TrainingRecord, WeightsError, remedy)
    done = {fold.record.fold for fold in folds}
    if absent := [number for number in range(record.folds) if number not in done]:
        options = " ".join(f"--fold {number}" for number in absent)
        raise FoldError(
            f"{len(absent)} of {record.folds} folds in {study} are not complete: {', '.join(map(str, absent))}. The "
            f"figures of the card are those of all folds. Train them with {options}, then update the decision with "
            "--all-images --resume."
        )
    _refuse_other_settings(study, record, folds)
    network = NetworkForUse(study, record, load_weights(study / FOLDER / "weights", trust_code), folds)
    _refuse_other_decision(network)
    return network


def read_evaluations(network: NetworkForUse, folders: Sequence[Path] = ()) -> tuple[EvaluationRecord, ...]:
    """Read the evaluations of the networks of all folds.

    Args:
        network: The network; its study folder is searched for folders written by `taichinet evaluate`.
        folders: Further folders.

    Returns:
        The evaluations, those in the study folder first.

    Raises:
        WeightsError: A file cannot be read, or an evaluation was not made with exactly the networks of all folds.
    """
    weights = {digest_file(fold.folder / "weights" / WEIGHTS_FILE) for fold in network.folds}
    paths = dict.fromkeys(folder.resolve() for folder in (*_evaluations_in(network.study), *folders))
    remedy = f"Evaluate {network.study} again (taichinet evaluate --output), or move the folder away."
    records = []
    for folder in paths:
        record = read_record(folder / SUMMARY_FILE, EvaluationRecord, WeightsError, remedy)
        evaluated = {scored.weights_sha256 for scored in record.networks}
        if evaluated != weights:
            raise WeightsError(
                f"{folder} was made with {len(evaluated & weights)} of the {len(weights)} networks of the folds and "
                f"{len(evaluated - weights)} others. The figures of the card are those of all folds and of no others. "
                f"{remedy}"
            )
        records.append(record)
    return tuple(records)


def _evaluations_in(study: Path) -> Iterator[Path]:
    for path in sorted(study.glob(f"*/{SUMMARY_FILE}")):
        if is_evaluation(read_json(path, WeightsError, "Move it away.")):
            yield path.parent


def _example(study: Path, folds: Sequence[FoldResult]) -> str:
    """The command, as far as the folds record it."""
    if not folds:
        return ""
    record, out = folds[0].record, study.absolute().parents[2]
    data = " ".join(f"--data {name}=PATH" for name in record.dataset.split("+"))
    return f": taichinet train {record.experiment.name} {data} --protocol {record.protocol} --output {out} --all-images"


def _refuse_other_settings(study: Path, record: TrainingRecord, folds: Sequence[FoldResult]) -> None:
    for fold in folds:
        different = differences(fold.record, record.experiment, {name: getattr(record, name) for name in STUDY_FIELDS})
        if different:
            changes = [describe_changes(different.settings), *(f"{name} differs" for name in different.fields)]
            raise FoldError(
                f"{study / FOLDER} was trained with other settings or images than {fold.folder} "
                f"({', '.join(filter(None, changes))}), so that the folds do not measure it. Train it again with the "
                "settings of the folds: --all-images --overwrite."
            )


def _refuse_other_decision(network: NetworkForUse) -> None:
    """Raise FoldError unless the decision in the record and in the weights is the mean of all folds."""
    record, config, folder = network.record, network.weights.config, network.study / FOLDER
    expected = decision_of(network.folds)
    if record.decision != expected or record.decision_folds != tuple(fold.record.fold for fold in network.folds):
        raise FoldError(
            f"The decision in {folder} is that of folds {', '.join(map(str, record.decision_folds)) or 'none'}, not "
            f"the mean of all {record.folds} folds as they are now. Update it with the command of its training and "
            "--all-images --resume; nothing is trained again."
        )
    if expected is not None and stored_decision(config.decision, config.threshold, network.weights.name) != expected:
        raise FoldError(
            f"{folder / 'weights'} has another decision than {TRAINING_FILE}. Train it again with --all-images "
            "--overwrite."
        )
