"""Scores of a network: one row per image and region, at input resolution and at original resolution.

A row has key, label, fold, region and all scores of `score_mask`; rows of joined data sets also "dataset". Scores
without suffix compare the mask with the resized ground truth at input resolution, as in the paper. For `*_native`, the
probability is resized (bilinear) to the original resolution; `dice_before_native` is without a presence decision.
Two-path networks also have `positive_dice`, `second_path_dice` and `mean_dice`. The last columns, at original
resolution, are `DETECTION_COLUMNS` and the normalised surface Dice, `nsd_native`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import count
from math import nan
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taichinet.batch import Batch
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared
from taichinet.datasets.sample import Sample
from taichinet.evaluation.confidence import ConfidenceKeeper, ImageConfidence, measure_confidence
from taichinet.evaluation.decision import DEFAULT_DECISION, Decision
from taichinet.evaluation.detection import detect_lesions
from taichinet.evaluation.masks import resize_probability
from taichinet.evaluation.metrics import dice_score, score_mask, surface_dice
from taichinet.evaluation.undefined import SUFFIX
from taichinet.progress import report_progress
from taichinet.training.device import DeviceConfig
from taichinet.training.launch import Launch
from taichinet.training.loop import finite_outputs, network_outputs, refuse_not_finite_outputs
from taichinet.training.one_ahead import one_ahead

BATCH_SIZE = 16
GPU_BATCH_SIZE = 64
GPU_WAITING = 2 * GPU_BATCH_SIZE  # images whose scores are not waited for: more would only use memory

_Scored = tuple[dict[str, Any], ImageConfidence | None]  # a row, and the confidence of its image if it is kept


@dataclass(frozen=True)
class ScoredImages:
    """Per-image scores and inference time.

    Attributes:
        rows: See `score_images`.
        inference_seconds_per_image: Median over batches, from the batch in memory to its outputs on the CPU, without
            reading, resizing and scoring. On a GPU its own clock is used, and the batch is in its memory.
    """

    rows: pd.DataFrame
    inference_seconds_per_image: float


def score_images(
    network: nn.Module,
    manifest: Manifest,
    data: Prepared,
    fold: int,
    device_config: DeviceConfig,
    decision: Decision = DEFAULT_DECISION,
    confidences: ConfidenceKeeper | None = None,
) -> ScoredImages:
    """Score the predictions of a network.

    Images are scored in threads, as many as PyTorch has. A GPU computes meanwhile; the CPU computes the next batch
    after the scores of the last one, as the time of the network is measured.

    Args:
        network: The network, on its device.
        manifest: Data set with the masks at original resolution.
        data: Images and masks at input resolution, in the order of the rows.
        fold: Value of the column "fold".
        device_config: Device and precision.
        decision: How masks are made from probabilities. Its temperature also applies to the confidences.
        confidences: Keeps the confidence of each image, in the order of the rows.

    Returns:
        One row per image and region, with the columns that are described above.

    Raises:
        DataError: A mask cannot be read.
        NotFiniteError: An output is NaN or infinite.
    """
    size, waiting_images = (GPU_BATCH_SIZE, GPU_WAITING) if device_config.device.type == "cuda" else (BATCH_SIZE, 0)
    scorer = _Scorer(manifest, data, fold, decision, None if confidences is None else confidences.region)
    rows, seconds = list[dict[str, Any]](), list[float]()
    scoring: deque[Future[list[_Scored]]] = deque()

    def collect(waiting: int) -> None:
        while len(scoring) > waiting:
            for row, confidence in scoring.popleft().result():
                rows.append(row)
                if confidences is not None and confidence is not None:
                    confidences.by_key[row["key"]] = confidence

    with ThreadPoolExecutor(torch.get_num_threads(), "score") as pool:
        try:
            position = count()
            for launch in one_ahead(_launches(network, data, device_config, size)):
                finite, *outputs = launch.results()
                refuse_not_finite_outputs(finite[None])
                seconds.append(launch.seconds() / len(outputs[0]))
                for outputs_of_image in zip(*outputs, strict=True):
                    scoring.append(pool.submit(scorer.score, next(position), *outputs_of_image))
                collect(waiting_images)
                report_progress("scoring images", len(rows) // len(manifest.regions), len(data.keys))
            collect(0)
            report_progress("scoring images", len(data.keys), len(data.keys))
        finally:
            for future in scoring:
                future.cancel()
    return ScoredImages(pd.DataFrame(rows), median(seconds) if seconds else nan)


def _launches(network: nn.Module, data: Prepared, device_config: DeviceConfig, size: int) -> Iterator[Launch]:
    """Launch the network on batches of `size` images; the data are held on the device. Results: see `_outputs`."""
    for batch in data.to(device_config.device).batches(size):
        yield Launch(device_config.device, partial(_outputs, network, batch, device_config))


def _outputs(network: nn.Module, batch: Batch, device_config: DeviceConfig) -> list[Tensor]:
    """Result of `finite_outputs`, lesion probability, logits of O_p and, with two paths, probability of the second."""
    ((_, prediction),) = network_outputs(network, [batch], device_config)
    second = prediction.second_opinion
    outputs = [finite_outputs(prediction), prediction.lesion, prediction.positive]
    return outputs if second is None else [*outputs, second]


@dataclass(frozen=True)
class _Scorer:
    """Scores one image, in any thread. `kept` is the region of which the confidence is measured."""

    manifest: Manifest
    data: Prepared
    fold: int
    decision: Decision
    kept: str | None

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        return {sample.key: sample for sample in self.manifest.samples}

    def score(self, position: int, lesion: Tensor, positive: Tensor, second: Tensor | None = None) -> list[_Scored]:
        """Score the outputs (R, S, S) for the image with the number `position`: one row per region."""
        key = self.data.keys[position]
        sample = self._samples[key]
        drawn = self.manifest.region_masks(sample)
        scored = list[_Scored]()
        for r, region in enumerate(self.manifest.regions):
            truth = self.data.lesion[position, r].numpy() > 0.5
            at_network_size = lesion[r].numpy()
            score = self.decision.presence_score(at_network_size)
            at_native_size = resize_probability(at_network_size, drawn[r].shape)
            native_mask = self.decision.mask(at_native_size, score)
            native = asdict(score_mask(native_mask, drawn[r]))
            row = {
                "key": key,
                "label": self.data.labels[position],
                "fold": self.fold,
                "region": region,
                **asdict(score_mask(self.decision.mask(at_network_size, score), truth)),
                **{f"{name}{SUFFIX['native']}": value for name, value in native.items()},
                **({} if sample.dataset is None else {"dataset": sample.dataset}),
            }
            if second is not None:
                threshold = self.decision.raw_threshold
                row |= _dice_of_outputs(torch.sigmoid(positive[r].float()), second[r], truth, threshold)
            if self.decision.presence:
                row["dice_before_native"] = dice_score(self.decision.mask(at_native_size, 1.0), drawn[r])
            row |= detect_lesions(native_mask, self.decision.calibrated(at_native_size), drawn[r]).to_columns()
            row["nsd_native"] = surface_dice(native_mask, drawn[r])
            calibrated = self.decision.calibrated(at_network_size)
            scored.append((row, measure_confidence(calibrated, truth) if region == self.kept else None))
        return scored


def _dice_of_outputs(
    positive: Tensor, second_path: Tensor, truth: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    """Dice of the outputs of a two-path network, whose probabilities (S, S) are given, and of their mean."""
    outputs = {"positive": positive, "second_path": second_path, "mean": (positive + second_path) / 2}
    return {f"{name}_dice": dice_score(output.numpy() > threshold, truth) for name, output in outputs.items()}
