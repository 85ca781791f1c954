"""Scores of a network: one row per image and region, at input resolution and at original resolution."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import nan
from statistics import median

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared
from taichinet.evaluation.metrics import resize_probability, score_mask
from taichinet.evaluation.undefined import SUFFIX
from taichinet.training.device import DeviceConfig
from taichinet.training.loop import predict_batches

BATCH_SIZE = 16

# Called with key, region, lesion probability float (S, S) and ground truth bool (S, S), at input resolution.
OnRegion = Callable[[str, str, NDArray[np.floating], NDArray[np.bool_]], None]


@dataclass(frozen=True)
class ScoredImages:
    """Per-image scores and inference time.

    Attributes:
        rows: See `score_images`.
        inference_seconds_per_image: Median over batches, from the batch in memory to probabilities on the CPU, without
            reading, resizing and scoring.
    """

    rows: pd.DataFrame
    inference_seconds_per_image: float


def score_images(
    network: nn.Module,
    manifest: Manifest,
    data: Prepared,
    fold: int,
    device_config: DeviceConfig,
    threshold: float = 0.5,
    on_region: OnRegion | None = None,
) -> ScoredImages:
    """Score the predictions of a network.

    Args:
        network: The network, on its device.
        manifest: Data set with the masks at original resolution.
        data: Images and masks at input resolution, in the order of the rows.
        fold: Value of the column "fold".
        device_config: Device and precision.
        threshold: Probability above which a pixel is lesion.
        on_region: Called with each probability map and its ground truth, e.g. to measure the calibration.

    Returns:
        One row per image and region with key, label, fold, region and all scores of `score_mask`. Scores without suffix
        compare the mask with the resized ground truth at input resolution, as in the paper. For `*_native`, the
        probability is resized (bilinear) to the original resolution. Two-path networks also have the Dice of O_p, of
        the second path and of their mean: `positive_dice`, `second_path_dice` and `mean_dice`.
    """
    samples = {sample.key: sample for sample in manifest.samples}
    rows, seconds = [], []
    position = 0
    for batch in data.batches(BATCH_SIZE):
        began = time.perf_counter()
        (prediction,) = predict_batches(network, [batch], device_config)  # one batch at a time, to limit the memory
        seconds.append((time.perf_counter() - began) / len(batch.image))
        lesion, second = prediction.lesion, prediction.second_opinion  # once per batch
        for i in range(len(batch.image)):
            key = data.keys[position]
            drawn = manifest.region_masks(samples[key])
            for r, region in enumerate(manifest.regions):
                probability = lesion[i : i + 1, r : r + 1]
                truth = batch.lesion[i, r].numpy() > 0.5
                native_mask = resize_probability(probability, drawn[r].shape) > threshold
                at_network_size = probability[0, 0].numpy()
                if on_region is not None:
                    on_region(key, region, at_network_size, truth)
                native = asdict(score_mask(native_mask, drawn[r]))
                row = {
                    "key": key,
                    "label": data.labels[position],
                    "fold": fold,
                    "region": region,
                    **asdict(score_mask(at_network_size > threshold, truth)),
                    **{f"{name}{SUFFIX['native']}": value for name, value in native.items()},
                }
                if second is not None:
                    positive = torch.sigmoid(prediction.positive[i, r].float())
                    row |= _dice_of_outputs(positive, second[i, r], truth, threshold)
                rows.append(row)
            position += 1
    return ScoredImages(pd.DataFrame(rows), median(seconds) if seconds else nan)


def _dice_of_outputs(
    positive: Tensor, second_path: Tensor, truth: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    """Dice of the outputs of a two-path network, whose probabilities (S, S) are given, and of their mean."""
    outputs = {"positive": positive, "second_path": second_path, "mean": (positive + second_path) / 2}
    return {f"{name}_dice": score_mask(output.numpy() > threshold, truth).dice for name, output in outputs.items()}
