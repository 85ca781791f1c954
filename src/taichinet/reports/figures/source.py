"""The data of the figures: completed runs, and a data set with the images, predictions and feature maps to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from torch import Tensor

from taichinet.datasets.catalogue import open_dataset, split_spec
from taichinet.datasets.decoded import united_mask
from taichinet.datasets.image_io import read_grey, read_rgb, resize_mask
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.datasets.prepared import prepare
from taichinet.errors import DataError, FoldError, SettingError, WeightsError, unknown_name
from taichinet.evaluation.metrics import score_mask
from taichinet.evaluation.undefined import empty_ground_truth
from taichinet.experiments.provenance import source_commit
from taichinet.experiments.recipes.catalogue import SCALES
from taichinet.experiments.recipes.own import OWN, OWN_SCALE
from taichinet.experiments.records import RESULT_FILE, FoldRecord, read_fold, read_record
from taichinet.inference.predictor import Predictor
from taichinet.models.taichinet.feature_maps import FeatureMaps, feature_maps
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import CONFIG_FILE, WEIGHTS_FILE
from taichinet.reports.figures.sheet import Panel
from taichinet.storage.digest import digest_file
from taichinet.training.device import choose_device_config, chosen_device, device_name
from taichinet.version import __version__

SAME_RECIPE = {"model-1": "unet"}  # Model 1 of Table I is the baseline U-Net under another name
NAMED_BY_USER = "Named by the user."


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """One completed fold with its weights. `scale` and `row` are the two parts of the name of its recipe."""

    folder: Path
    scale: str
    row: str
    record: FoldRecord

    @property
    def recipe(self) -> str:
        """Name of the recipe, SCALE-ROW or, for a network in a file, own-NAME."""
        return self.record.experiment.name

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


@dataclass(frozen=True)
class Request:
    """Options of the user."""

    cases: tuple[str, ...] = ()  # keys of the images to show; if empty, they are selected by a rule
    count: int | None = None  # number of images if there are no `cases`; None for the default of each figure
    methods: tuple[str, ...] = ()  # recipes of figure 11 without their scale; if empty, those of the paper


@dataclass(frozen=True)
class Case:
    """An image at original resolution: key, grey values (H, W) and ground truth, bool (H, W)."""

    key: str
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]

    def panel(self) -> Panel:
        """The image with the border of the ground truth."""
        return Panel(self.image, self.truth, record={"case": self.key})

    def feature_map_panel(self, feature_map: Tensor, record: dict[str, Any], note: str = "") -> Panel:
        """A feature map (h, w), normalised from its minimum to its maximum, with the border of the ground truth.

        The record contains minimum and maximum, and the mean of the map inside and outside the lesion.
        """
        raw = feature_map.double().numpy()
        statistics = {"least": float(raw.min()), "greatest": float(raw.max())}
        if raw.shape[0] == raw.shape[1]:
            lesion = resize_mask(self.truth, raw.shape[0]).astype(bool)
            if lesion.any() and not lesion.all():
                statistics |= {"mean_in_lesion": float(raw[lesion].mean()), "mean_outside": float(raw[~lesion].mean())}
        values = np.asarray(Normalize()(raw))  # 0 everywhere if all values are equal
        return Panel(values, self.truth, is_feature_map=True, note=note, record={**record, **statistics})


@dataclass(frozen=True)
class CasePrediction:
    """Prediction of a run at original resolution: mask, bool, and probability (H, W), Dice, and record of its panel."""

    case: Case
    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    dice: float
    record: dict[str, Any]

    def overlay_panel(self) -> Panel:
        """The image with the borders of ground truth and prediction, and the Dice below."""
        return replace(self.probability_panel(), values=self.case.image)

    def probability_panel(self) -> Panel:
        """The probability, black for 0 and white for 1, with both borders, and the Dice below."""
        note = f"DI {self.dice:.2f}"
        return Panel(self.probability, self.case.truth, self.mask, note=note, record=self.record)


@dataclass(frozen=True)
class Source:
    """A data set and the runs that were trained on exactly its images."""

    spec: str  # the data set as the user named it
    name: str
    digest: str
    samples: Mapping[str, Sample]  # by key
    runs: tuple[TrainedRun, ...]
    out: Path  # folder of the runs
    trust_code: bool = False  # whether the code of networks from outside the package may be executed

    def select_runs(self, rows: Sequence[str]) -> dict[str, TrainedRun]:
        """Select one run for each of `rows` (recipes without scale), all of the same scale, fold protocol and fold.

        The first complete set is selected, in the order busi, cpu, short, demo; grouped folds first; lower folds first.
        If no set is complete, the message of the FoldError has the commands that train the missing runs.
        """
        sets: dict[tuple[int, bool, str, int], dict[str, TrainedRun]] = {}
        for run in self.runs:
            place = (tuple(SCALES).index(run.scale), run.record.protocol != "grouped", run.record.protocol, run.fold)
            sets.setdefault(place, {})[run.row] = run
        choices = [
            (place, {row: named for row in rows if (named := held.get(row) or held.get(SAME_RECIPE.get(row, row)))})
            for place, held in sorted(sets.items(), key=lambda item: item[0])
        ]
        for _, chosen in choices:
            if len(chosen) == len(rows):
                return chosen
        place, fullest = max(choices, key=lambda it: len(it[1]), default=((len(SCALES) - 1, False, "grouped", 0), {}))
        scale, protocol, fold = tuple(SCALES)[place[0]], place[2], place[3]
        missing = [row for row in rows if row not in fullest]
        place_of_runs = f"--data {quote(self.spec)} --protocol {protocol} --fold {fold} --output {quote(str(self.out))}"
        recipes = [f"FILE.py:{row.removeprefix(OWN)}" if row.startswith(OWN) else f"{scale}-{row}" for row in missing]
        commands = [f"taichinet train {recipe} {place_of_runs}" for recipe in recipes]
        names = ", ".join(row if row.startswith(OWN) else f"{scale}-{row}" for row in missing)
        raise FoldError(
            f"Runs are missing that the figure needs: {names} (fold {fold}, {protocol}). Train them:\n  "
            + "\n  ".join(commands)
        )

    def case(self, key: str) -> Case:
        """Read the image of `key` and its ground truth."""
        sample = self.samples[key]
        return Case(key, read_grey(sample.image), united_mask(sample))

    def predict(self, run: TrainedRun, cases: Sequence[Case]) -> list[CasePrediction]:
        """Predict `cases` with the weights of `run`."""
        device_config = choose_device_config(run.record.experiment.training.precision)
        predictor = Predictor(load_weights(run.weights, self.trust_code), device_config)
        grey = predictor.channels == 1
        pixels = [case.image if grey else read_rgb(self.samples[case.key].image) for case in cases]
        predictions = []
        for case, output in zip(cases, predictor.predict_many(pixels), strict=True):
            dice = score_mask(output.mask, case.truth).dice
            record = record_of(run, case.key, dice)
            predictions.append(CasePrediction(case, output.mask, output.probability, dice, record))
        return predictions

    def feature_maps(self, run: TrainedRun, key: str) -> FeatureMaps:
        """Compute the feature maps of both paths of `run` for the image of `key` at input resolution, in float32."""
        loaded = load_weights(run.weights, self.trust_code)
        manifest = Manifest(self.name, (self.samples[key],))
        image = prepare(manifest, loaded.config.size, loaded.channels).batch(torch.tensor([0])).image
        maps = feature_maps(loaded.network.to(chosen_device()), image.to(chosen_device()))
        if maps.negative is None:
            raise SettingError(f"{run.recipe} in {run.folder} has one path, but the figures show feature maps of two.")
        return maps


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
        name = record.experiment.name
        scale, _, row = (f"{OWN_SCALE}-{name}" if name.startswith(OWN) else name).partition("-")
        if scale in SCALES and row:
            runs.append(TrainedRun(path.parent, scale, row, record))
    if problems:
        raise DataError(f"{len(problems)} results under '{root}' cannot be read. Train them again:", problems)
    if not runs:
        raise DataError(f"No finished run under '{root}'. Give the --output folder of `taichinet train`.")
    return tuple(runs)


def open_source(spec: str, runs: Sequence[TrainedRun], out: Path, trust_code: bool = False) -> Source:
    """Open a data set and select the runs that were trained on exactly its images.

    Args:
        spec: Folder of the data set, or NAME=FOLDER.
        runs: Completed runs.
        out: Folder of the runs, for messages.
        trust_code: Whether the code of networks from outside the package may be executed, see `load_weights`.

    Raises:
        DataError: No run was trained on these images, or the data set cannot be read.
        SettingError: The data set has several regions.
    """
    name = split_spec(spec)[0].name
    samples: dict[str, Sample] = {}
    own: list[TrainedRun] = []
    dataset_digest = ""
    for with_normal in (False, True):
        candidates = [
            run
            for run in runs
            if run.record.dataset == name and run.record.experiment.data.include_normal == with_normal
        ]
        if not candidates:
            continue
        manifest = open_dataset(spec, include_normal=with_normal)
        if len(manifest.regions) > 1:
            raise SettingError(
                f"{name} has the regions {', '.join(manifest.regions)}, but figures show a single one. Give a data set "
                "of lesions."
            )
        digest = manifest.digest()
        same = [run for run in candidates if run.record.dataset_digest == digest]
        if same:
            samples |= {sample.key: sample for sample in manifest}
            own += same
            dataset_digest = digest
    if not own:
        others = sorted({run.record.dataset for run in runs})
        raise DataError(
            f"No run under '{out}' was trained on the images of {spec} ({name}). There are runs of "
            f"{', '.join(others)}. Give the data set that they were trained on, or train on this one."
        )
    return Source(spec, name, dataset_digest, samples, tuple(own), out, trust_code)


def choose_cases(source: Source, reference: TrainedRun, request: Request, count: int) -> tuple[tuple[str, ...], str]:
    """Return the keys of held-out images of `reference`, and the rule that selected them.

    `count` images are selected by their Dice unless the request names images or another number. Raises SettingError if
    the data set has no such image, and FoldError if a named image was used in the training of `reference`.
    """
    if request.cases:
        refuse_training_images(source, reference, request.cases)
        return request.cases, NAMED_BY_USER
    keys, quantiles = at_quantiles(by_dice(reference.scores), request.count or count)
    return keys, (
        f"Held-out lesion images, sorted by their Dice with {reference.recipe} at input resolution, then by key; of "
        f"these the images at the quantiles {quantiles}."
    )


def by_dice(scores: pd.DataFrame) -> list[str]:
    """Return the keys of the lesion images of a table of scores from the lowest to the highest Dice, then by key."""
    lesions = scores[~empty_ground_truth(scores)]
    return [key for _, key in sorted(zip(lesions["dice"].fillna(0), lesions["key"].astype(str), strict=True))]


def at_quantiles(ordered: Sequence[str], count: int) -> tuple[tuple[str, ...], str]:
    """Return the items at `count` evenly spaced quantiles, without 0 and 1, each once; and the quantiles as text."""
    quantiles = [step / (count + 1) for step in range(1, count + 1)]
    keys = [ordered[round(quantile * (len(ordered) - 1))] for quantile in quantiles if ordered]
    return tuple(dict.fromkeys(keys)), ", ".join(f"{quantile:.3g}" for quantile in quantiles)


def refuse_unknown_images(sources: Sequence[Source], keys: Sequence[str]) -> None:
    """Raise SettingError for a key that is not an image of `sources`."""
    known = tuple(key for source in sources for key in source.samples)
    for key in keys:
        if key not in known:
            names = " or ".join(source.name for source in sources)
            raise unknown_name(f"image of {names}", key, known, f"{len(known)} images")


def refuse_training_images(source: Source, run: TrainedRun, keys: Sequence[str]) -> None:
    """Raise for keys that are not images of `source`, or were used in the training or model selection of `run`."""
    refuse_unknown_images([source], keys)
    for key in keys:
        if key not in run.scores.index:
            raise FoldError(
                f"'{key}' was used in the training of {run.recipe}, fold {run.fold}, but this figure shows held-out "
                f"images. Give another --case, e.g. '{run.scores.index[0]}'."
            )


def record_of(run: TrainedRun, key: str, dice_native: float | None = None) -> dict[str, Any]:
    """Return the record of a panel: image, run, and its Dice at input and original resolution."""
    record: dict[str, Any] = {"case": key, "recipe": run.recipe, "weights_sha256": run.weights_digest}
    if key in run.scores.index:
        record["dice"] = round(float(run.scores["dice"][key]), 4)
    if dice_native is not None:
        record["dice_native"] = round(dice_native, 4)
    return record


def provenance(sources: Sequence[Source], runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """Return the data sets and runs of a figure, with the digests of the weights, and the version of the code."""
    return {
        "datasets": [{"name": source.name, "digest": source.digest} for source in sources],
        "runs": [
            {
                "recipe": run.recipe,
                "dataset": run.record.dataset,
                "protocol": run.record.protocol,
                "fold": run.record.fold,
                "weights_sha256": run.weights_digest,
                "commit": run.record.commit,
            }
            for run in dict.fromkeys(runs)
        ],
        "drawn_with": {
            "taichinet": __version__,
            "commit": source_commit(),
            "device": device_name(chosen_device()),
        },
    }
