"""Score a folder of predicted masks of any program on the folds of a plan, with the scores of our own networks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.folds import NEVER_TESTED, read_folds, verify_folds
from taichinet.datasets.image_io import resize_mask
from taichinet.datasets.manifest import ImageCounts, Manifest
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError, FoldError, SettingError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.evaluation.detection import detect_lesions
from taichinet.evaluation.metrics import score_mask, surface_dice
from taichinet.evaluation.undefined import SUFFIX
from taichinet.experiments.mask_files import find_masks, read_predicted_mask
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.experiments.records import (
    SCORES_FILE,
    SUMMARY_FILE,
    EvaluationRecord,
    ImageCountsRecord,
    NetworkRecord,
    write_record,
    write_scores,
)
from taichinet.models.settings import MAX_SIZE
from taichinet.progress import tracked
from taichinet.storage.output_folder import output_files


@dataclass(frozen=True)
class ScoredMasks:
    """Scores of predicted masks.

    Attributes:
        scores: One row per image, with the columns of `score_images`.
        summary: The scores over folds.
        manifest: The scored images.
        images_digest: Digest of all images of the fold plan.
        protocol: The fold protocol.
        note: Which images and masks were scored.
        seconds: Duration including reading.
    """

    scores: pd.DataFrame
    summary: Summary
    manifest: Manifest
    images_digest: str
    protocol: str
    note: str
    seconds: float

    @property
    def counts(self) -> ImageCounts:
        """Number of images that were scored, have an empty mask, and were skipped."""
        return self.manifest.count_images(int((self.scores["lesions"] == 0).sum()))


def score_folder(folder: Path, data: Path | str, folds: Path, size: int = 224, value: int | None = None) -> ScoredMasks:
    """Score one mask for each test image of a fold plan.

    Each mask must be the prediction of a model that was not trained on the image: that of the fold in which the image
    is tested. This cannot be checked.

    Args:
        folder: The masks, see `find_masks`.
        data: A path, or NAME=PATH; a data set with one region.
        folds: The fold plan. Normal images are scored if it has them.
        size: Input resolution in pixels, to which both masks are resized for the scores at this resolution. It should
            be that of the networks that are compared.
        value: The value of lesion pixels; None for any but 0.

    Returns:
        The scores.

    Raises:
        DataError: The data set or a mask cannot be read, or masks are missing or have another size. All are named.
        FoldError: The plan was made for other images, or tests none.
        SettingError: The size or the value is out of range.
    """
    if not 1 <= size <= MAX_SIZE:
        raise SettingError(f"--size is {size}, but must be a number of pixels from 1 to {MAX_SIZE}.")
    if value is not None and value < 1:
        raise SettingError(f"--value is {value}, but must be the value of lesion pixels, at least 1: 0 is background.")
    began = time.perf_counter()
    plan = read_folds(folds)
    manifest = open_dataset(data)
    if not plan.fold_of.keys() & set(manifest.keys) - set(manifest.without_normal().keys):
        manifest = manifest.without_normal()
    try:
        verify_folds(plan, manifest)
    except FoldError as error:
        raise FoldError(f"{folds}: {error}") from error
    if len(manifest.regions) > 1:
        raise DataError(
            f"{manifest.name} has {len(manifest.regions)} regions, but masks are scored for one region only."
        )
    fold_of = {key: fold for key, fold in plan.fold_of.items() if fold != NEVER_TESTED}
    tested = manifest.subset(set(fold_of))
    scores = _score_all(tested, find_masks(folder, tested, manifest), fold_of, size, value)
    note = (
        f"Scored masks in {folder.name or folder.absolute().name} of {len(tested.samples)} images in {plan.count} "
        f"{plan.protocol} folds; lesion is {'any value but 0' if value is None else f'the value {value}'}. Whether the "
        "masks are predictions for images that were not trained on is not known."
    )
    return ScoredMasks(scores, aggregate(scores), tested, plan.digest, plan.protocol, note, time.perf_counter() - began)


def _score_all(
    manifest: Manifest, masks: Mapping[str, Path], fold_of: Mapping[str, int], size: int, value: int | None
) -> pd.DataFrame:
    """One row per image; DataError with all masks that cannot be scored."""

    def score(sample: Sample) -> dict[str, Any] | str:
        try:
            truth = manifest.region_masks(sample)[0]
            mask = read_predicted_mask(masks[sample.key], value, truth.shape)
            names = {"key": sample.key, "label": sample.label, "fold": fold_of[sample.key]}
            dataset = {} if sample.dataset is None else {"dataset": sample.dataset}
            scores = {**_overlap_scores(mask, truth, size), **dataset, **_lesion_scores(mask, truth)}
            return {**names, "region": manifest.regions[0], **scores}
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(torch.get_num_threads(), "score") as pool:
        rows = list(tracked(pool.map(score, manifest.samples), "scoring masks", len(manifest.samples)))
    problems = [row for row in rows if isinstance(row, str)]
    if problems:
        raise DataError(f"{len(problems)} masks cannot be scored. Correct them:", problems)
    return pd.DataFrame(rows)


def _overlap_scores(mask: NDArray[np.bool_], truth: NDArray[np.bool_], size: int) -> dict[str, Any]:
    """The scores at input and at original resolution, in the columns of `score_images`."""
    resized, resized_truth = (resize_mask(values, size).astype(bool) for values in (mask, truth))
    native = asdict(score_mask(mask, truth))
    return {
        **asdict(score_mask(resized, resized_truth)),
        **{f"{name}{SUFFIX['native']}": score for name, score in native.items()},
    }


def _lesion_scores(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, Any]:
    """Detection and surface Dice at original resolution. Each component has the score 1."""
    return {
        **detect_lesions(mask, mask.astype(np.float32), truth).to_columns(),
        "nsd_native": surface_dice(mask, truth),
    }


def write_scored_masks(scored: ScoredMasks, name: str, size: int, folder: Path) -> None:
    """Write scores.csv and summary.json to `folder` as `evaluate` does; `name` is that of the method.

    Raises:
        StorageError: A file cannot be written.
    """
    network = NetworkRecord(model=name, size=size, images=len(scored.scores), trained={"protocol": scored.protocol})
    with output_files(folder) as temporary:
        record = EvaluationRecord(
            dataset=scored.manifest.name,
            dataset_digest=scored.images_digest,
            note=scored.note,
            left_out=scored.manifest.left_out,
            images=ImageCountsRecord.model_validate(scored.counts.to_json_dict()),
            networks=(network,),
            wall_seconds=round(scored.seconds, 1),
            commit=source_commit(),
            machine=describe_machine(),
            summary=scored.summary,
            scores=write_scores(temporary / SCORES_FILE, scored.scores.round(6)),
        )
        write_record(temporary / SUMMARY_FILE, record)
