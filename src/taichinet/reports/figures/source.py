"""A data set and the runs that were trained on exactly its pictures: cases of it, and what a run answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import taichinet
from taichinet.datasets.catalogue import open_dataset, split_spec
from taichinet.datasets.image_io import read_grey, read_rgb, united_mask
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.datasets.prepared import prepare
from taichinet.errors import DataError, SettingError
from taichinet.evaluation.metrics import score_mask
from taichinet.experiments.provenance import source_commit
from taichinet.inference.predictor import Predictor
from taichinet.models.taichinet.feature_maps import FeatureMaps, feature_maps
from taichinet.models.weights import load_weights
from taichinet.reports.figures.runs import TrainedRun
from taichinet.training.device import choose_device_config


@dataclass(frozen=True)
class Case:
    """One image at its own size: grey (H, W) and its ground truth, bool (H, W)."""

    key: str
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class Answer:
    """What a run says of a case at its own size: mask bool and probability (H, W), and the panel's record."""

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    dice: float
    record: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A data set as the user named it (`spec`), its samples by key, and the runs that were trained on it."""

    spec: str
    name: str
    digest: str
    samples: Mapping[str, Sample]
    runs: tuple[TrainedRun, ...]
    out: Path

    def case(self, key: str) -> Case:
        """The image of `key` and its truth."""
        sample = self.samples[key]
        return Case(key, read_grey(sample.image), united_mask(sample))

    def answers(self, run: TrainedRun, cases: Sequence[Case]) -> list[Answer]:
        """What `run` says of each of `cases`, scored at their own size."""
        device_config = choose_device_config(run.record.experiment.training.precision)
        predictor = Predictor(load_weights(run.weights), device_config)
        grey = predictor.channels == 1
        pixels = [case.image if grey else read_rgb(self.samples[case.key].image) for case in cases]
        answers = []
        for case, found in zip(cases, predictor.predict_many(pixels), strict=True):
            dice = score_mask(found.mask, case.truth).dice
            answers.append(Answer(found.mask, found.probability, dice, record_of(run, case.key, dice)))
        return answers

    def feature_maps(self, run: TrainedRun, key: str) -> FeatureMaps:
        """The maps of both paths of `run` for the image of `key`, at network size, in float32."""
        loaded = load_weights(run.weights)
        alone = Manifest(self.name, (self.samples[key],))
        image = prepare(alone, loaded.config.size, loaded.channels).batch(torch.tensor([0])).image
        maps = feature_maps(loaded.network, image)
        if maps.negative is None:
            raise SettingError(f"{run.recipe} in {run.folder} has one path; figures of features show two.")
        return maps

    def told(self) -> dict[str, str]:
        """The data set for a figure's record."""
        return {"name": self.name, "digest": self.digest}


def open_source(spec: str, runs: Sequence[TrainedRun], out: Path) -> Source:
    """The data set of `spec` with those of `runs`, all below `out`, that were trained on the same pictures.

    Raises DataError where none was, SettingError for a data set of several regions: a figure has one red line.
    """
    name = split_spec(spec)[0].name
    samples: dict[str, Sample] = {}
    own: list[TrainedRun] = []
    digest = ""
    for with_normal in (False, True):
        candidates = [run for run in runs if run.record.dataset == name and run.include_normal == with_normal]
        if not candidates:
            continue
        manifest = open_dataset(spec, include_normal=with_normal)
        if len(manifest.regions) > 1:
            raise SettingError(
                f"{name} has the regions {', '.join(manifest.regions)}, and the figures show one. Give a data set of "
                "lesions."
            )
        pictures = manifest.digest()
        same = [run for run in candidates if run.record.dataset_digest == pictures]
        if same:
            samples |= {sample.key: sample for sample in manifest}
            own += same
            digest = pictures
    if not own:
        others = sorted({run.record.dataset for run in runs})
        raise DataError(
            f"No run under '{out}' was trained on the pictures of {spec} ({name}); there are runs of "
            f"{', '.join(others)}. Give the data set that they were trained on, or train on this one."
        )
    return Source(spec, name, digest, samples, tuple(own), out)


def record_of(run: TrainedRun, key: str, dice_native: float | None = None) -> dict[str, Any]:
    """What the JSON tells of a panel: whose answer it is, and its scores at network size and at the image's own."""
    record: dict[str, Any] = {"case": key, "recipe": run.recipe, "weights_sha256": run.weights_digest}
    if key in run.scores.index:
        record["dice"] = round(float(run.scores["dice"][key]), 4)
    if dice_native is not None:
        record["dice_native"] = round(dice_native, 4)
    return record


def made_of(sources: Sequence[Source], runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """Where a figure comes from: data, runs with the digests of their weights, and the code that drew it."""
    return {
        "datasets": [source.told() for source in sources],
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
        "drawn_with": {"taichinet": taichinet.__version__, "commit": source_commit()},
    }
