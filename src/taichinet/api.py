"""Functions for Python programs: data sets, folds, training, evaluation and comparison, as the commands do them.

Every function calls what the command of the same name calls. Heavy modules are imported inside the functions, so that
importing this module takes no time. Segmentation is in `inference/segmenter.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

from taichinet.extras import missing_package

if TYPE_CHECKING:
    import pandas as pd

    from taichinet.datasets.folds import FoldPlan, Protocol
    from taichinet.datasets.manifest import Manifest
    from taichinet.evaluation.statistics import PairedTest
    from taichinet.experiments.cross_validate import Existing, Study
    from taichinet.experiments.evaluate import Evaluation, Source
    from taichinet.experiments.experiment import Experiment
    from taichinet.experiments.study_data import DataSpec
    from taichinet.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def _needs_train(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """`function`, with an error that names the extra `train` if its packages are not installed."""

    @wraps(function)
    def explained(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            raise missing_package(error) or error from error

    return explained


@_needs_train
def load_dataset(data: str | Path, include_normal: bool = True, group_by: str | None = None) -> Manifest:
    """Read a data set, and check that every file can be decoded.

    Args:
        data: The folder or zip file as distributed, or "NAME=PATH", as `--data`.
        include_normal: Whether to include images without a lesion.
        group_by: Pattern that finds the patient in the file names of your own folder, e.g. "^([A-Z]{4})_".

    Returns:
        The samples. `for sample in dataset` yields objects with `key`, `label`, `image` and `masks` (files) and
        `patient`; `dataset.region_masks(sample)` reads its masks, bool (R, H, W).

    Raises:
        DataError: There is no such data set, or it has faults. All of them are named.
        SettingError: NAME or `group_by` is not valid.
    """
    from taichinet.datasets.catalogue import open_dataset
    from taichinet.datasets.patients import patient_pattern, with_patients

    manifest = open_dataset(data, include_normal)
    return manifest if group_by is None else with_patients(manifest, patient_pattern(group_by))


@_needs_train
def make_folds(dataset: Manifest, protocol: Protocol = "grouped", count: int = 5, seed: int = 0) -> FoldPlan:
    """Assign every image of a data set to a fold, as `train` and `compare` do.

    Args:
        dataset: The data set of `load_dataset`. `train` excludes normal images unless the recipe includes them.
        protocol: "grouped" keeps near-duplicates and images of one patient together; "paper" draws random folds;
            "official" uses the authors' split.
        count: Number of folds.
        seed: Seed of the draw.

    Returns:
        The plan. `plan.fold_of[key]` is the fold in which an image is tested, `plan.groups` the images that depend on
        each other. `plan.split(fold, dataset.strata, validation_share)` returns training, validation and test keys.

    Raises:
        DataError: An image cannot be read.
        FoldError: A class has fewer images than folds, or there is no official split.
        SettingError: The protocol is unknown, or `count` or `seed` is not valid.
    """
    from taichinet.datasets import folds
    from taichinet.errors import SettingError
    from taichinet.experiments.study_data import near_duplicate_groups

    _refuse_unknown("fold protocol", protocol, folds.PROTOCOLS)
    if type(count) is not int or count < 2:
        raise SettingError(f"count is {count!r}, but must be a number of folds, at least 2.")
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise SettingError(f"seed is {seed!r}, but must be a whole number from 0 to {2**32 - 1}.")
    return folds.make_folds(dataset, near_duplicate_groups(dataset), protocol, seed, count)


@_needs_train
def get_recipe(name: str, settings: Mapping[str, object] | None = None) -> Experiment:
    """All settings of a training.

    Args:
        name: Name of a recipe (`taichinet models` lists the networks), or FILE.py:NAME for your own network.
        settings: Settings to change by dotted key, as `--set`: {"training.epochs": 3}.

    Returns:
        The recipe, a frozen object.

    Raises:
        SettingError: There is no such recipe or setting, or a value is not valid.
    """
    from taichinet.experiments.experiment import vary
    from taichinet.experiments.recipes import catalogue
    from taichinet.experiments.recipes.own import own_recipe
    from taichinet.models.own_code import names_file

    changes = settings or {}
    return own_recipe(name, changes) if names_file(name) else vary(catalogue.get_recipe(name), changes)


@_needs_train
def train(
    recipe: str | Experiment,
    data: DataSpec,
    output: str | Path,
    protocol: Protocol = "grouped",
    folds: Sequence[int] | None = None,
    existing: Existing = "refuse",
    group_by: str | None = None,
) -> Study:
    """Train and score a recipe on folds of a data set, as `taichinet train`.

    Each epoch is reported at level INFO to the logger "taichinet.api".

    Args:
        recipe: Name of a recipe, or a recipe of `get_recipe`.
        data: A path or "NAME=PATH"; several are joined.
        output: Folder of all runs.
        protocol: See `make_folds`; also "leave-one-dataset-out" for several data sets.
        folds: The folds to train; None for all.
        existing: Whether to "refuse", "resume" or "overwrite" runs that exist in `output`.
        group_by: See `load_dataset`.

    Returns:
        The completed folds. `study.folder` is the study folder, `study.scores` a table with one row per test image,
        `study.summary` the means and standard deviations over folds.

    Raises:
        DataError: The data set has faults.
        FoldError: A run exists and `existing` is "refuse", or does not fit the recipe, or a fold does not exist.
        SettingError: The recipe, a setting, `protocol` or `existing` is not valid.
    """
    from taichinet.datasets.folds import PROTOCOLS
    from taichinet.errors import FoldError
    from taichinet.experiments.cross_validate import Callbacks, Existing, train_folds
    from taichinet.experiments.study_data import open_study_data

    _refuse_unknown("value of existing", existing, get_args(Existing))
    _refuse_unknown("fold protocol", protocol, PROTOCOLS)
    experiment = get_recipe(recipe) if isinstance(recipe, str) else recipe
    study = open_study_data(experiment, data, protocol, Path(output), group_by)
    numbers = range(study.plan.count) if folds is None else folds
    if not numbers:
        raise FoldError("folds is empty. Give at least one number, or None for all folds.")
    if unknown := [fold for fold in numbers if not 0 <= fold < study.plan.count]:
        raise FoldError(f"Fold {unknown[0]} does not exist. Give numbers from 0 to {study.plan.count - 1}.")

    def on_fold(fold: int) -> None:
        logger.info("%s, fold %d of %d", experiment.name, fold, study.plan.count)

    def on_epoch(phase: str, row: dict[str, Any], epochs: int) -> None:
        logger.info("%s, epoch %d of %d, loss %.3f", phase, row["epoch"], epochs, row["loss"])

    callbacks = Callbacks(on_fold, on_epoch, lambda line: logger.info("%s", line))
    return train_folds(experiment, study, list(numbers), Path(output), existing, callbacks, keep_checkpoints=True)


@_needs_train
def evaluate(
    model: str | Path | Segmenter,
    data: Source,
    include_normal: bool | None = None,
    mirrored: bool = False,
    trust_code: bool = False,
    output: str | Path | None = None,
) -> Evaluation:
    """Score trained weights on the images of a data set that they were not trained on, as `taichinet evaluate`.

    Args:
        model: A model of `load`, or weights as in `load`. The decision stored with the weights is scored.
        data: A data set of `load_dataset`, or as its argument; several are joined.
        include_normal: Whether to include normal images; None for as in the training.
        mirrored: Whether to average with the prediction for the mirror image.
        trust_code: Whether the code of networks from outside the package may be executed.
        output: Folder for scores.csv and summary.json; None to write nothing.

    Returns:
        The evaluation. `scores` is a table with one row per image, `summary` has the means and standard deviations,
        `note` says which images were scored.

    Raises:
        DataError: The data set has faults.
        FoldError: No image is left, or the test folds of several networks overlap.
        SettingError: The model has another decision than its weights.
        WeightsError: The weights cannot be read, or have another number of regions.
    """
    from taichinet.errors import SettingError
    from taichinet.experiments.evaluate import evaluate_weights, write_evaluation

    if not isinstance(model, str | Path):
        if model.choices.threshold is not None or not model.choices.presence_decision:
            raise SettingError(
                "This model has another threshold or presence decision than its weights, but the stored decision is "
                "scored. Load it without threshold and presence_decision."
            )
        trust_code = trust_code or model.choices.trust_code
        model = model.path
    evaluation = evaluate_weights(Path(model), data, include_normal, mirrored, trust_code)
    if output is not None:
        write_evaluation(evaluation, Path(output))
    return evaluation


@_needs_train
def compare_scores(
    first: Study | Evaluation | pd.DataFrame,
    second: Study | Evaluation | pd.DataFrame,
    score: str = "dice",
    groups: Sequence[Sequence[str]] = (),
    seed: int = 0,
) -> PairedTest:
    """Compare two networks on the lesion images that both were tested on.

    Args:
        first: The first network: a result of `train` or `evaluate`, or its table of scores.
        second: The second network.
        score: A column of the tables, e.g. "dice" (input resolution) or "dice_native" (original resolution).
        groups: Groups of images that depend on each other (`plan.groups`), which are resampled together.
        seed: Seed of the bootstrap.

    Returns:
        Mean difference, first minus second, with its bootstrap interval, p-value of Wilcoxon's signed-rank test, and
        effect size. The test treats images as independent; with `groups`, rely on the interval.

    Raises:
        DataError: A table has no such column, images differ, or an image has several scores.
    """
    import numpy as np

    from taichinet.errors import DataError
    from taichinet.evaluation.statistics import compare_pairs
    from taichinet.groups import cluster_numbers

    values, others = _lesion_scores(first, score), _lesion_scores(second, score)
    if values.index.has_duplicates or others.index.has_duplicates:
        raise DataError("An image has several scores. Select the rows of one region and of one network first.")
    if not len(values) and not len(others):
        raise DataError("The tables have no lesion image, so there is nothing to compare.")
    if different := sorted(set(values.index) ^ set(others.index)):
        raise DataError(
            f"{len(different)} lesion images were scored for one network only. Compare both on the same images:",
            different[:5],
        )
    keys = list(values.index)
    clusters = cluster_numbers(keys, groups)
    arrays = [np.asarray(scores.loc[keys], dtype=np.float64) for scores in (values, others)]
    return compare_pairs(arrays[0], arrays[1], np.random.default_rng(seed), clusters)


def _refuse_unknown(what: str, value: str, known: Sequence[str]) -> None:
    from taichinet.errors import unknown_name

    if value not in known:
        raise unknown_name(what, value, known)


def _lesion_scores(result: Study | Evaluation | pd.DataFrame, score: str) -> pd.Series[float]:
    """The scores of all lesion images by key."""
    import pandas as pd

    from taichinet.errors import DataError
    from taichinet.evaluation.undefined import empty_ground_truth, resolve_undefined_scores

    rows = result if isinstance(result, pd.DataFrame) else result.scores
    if absent := [name for name in (score, "key", "true_pixels") if name not in rows]:
        raise DataError(f"The table has no column '{absent[0]}'. Its columns: {', '.join(map(str, rows.columns))}.")
    lesions = rows[~empty_ground_truth(rows)]
    return resolve_undefined_scores(lesions, score, None).set_axis(lesions["key"])
