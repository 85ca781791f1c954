"""Scores of a network on images: one row per image, at network size and at native size."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import torch
from torch import nn

from taichinet.datasets.images import united_mask
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared
from taichinet.evaluation.metrics import score_mask
from taichinet.evaluation.resize import resize_probability
from taichinet.training.device import Placement
from taichinet.training.loop import predict_batches

AT_NATIVE_SIZE = "_native"


def score_images(
    network: nn.Module,
    manifest: Manifest,
    data: Prepared,
    fold: int,
    placement: Placement,
    threshold: float = 0.5,
    batch_size: int = 16,
) -> pd.DataFrame:
    """A row for each sample of `data`: key, label, fold and every score of `score_mask`, twice.

    Unsuffixed columns compare the thresholded probability with the resized mask at network size, as the paper does;
    `*_native` resize the probability (bilinear) to the image's own size and compare with the mask as drawn.
    Networks of two paths have three columns more: `positive_dice`, `second_path_dice` and `mean_dice` are what O_p, the
    second path alone, and the mean of both would score.
    """
    samples = {sample.key: sample for sample in manifest.samples}
    batches = list(data.batches(batch_size))
    predictions = predict_batches(network, batches, placement)
    rows = []
    position = 0
    for batch, prediction in zip(batches, predictions, strict=True):
        second = prediction.second_opinion
        for i in range(len(batch.image)):
            key = data.keys[position]
            truth = batch.lesion[i, 0].numpy() > 0.5
            mask = prediction.lesion[i, 0].numpy() > threshold
            native_truth = united_mask(samples[key])
            native_mask = resize_probability(prediction.lesion[i : i + 1], native_truth.shape) > threshold
            row = {
                "key": key,
                "label": data.labels[position],
                "fold": fold,
                **asdict(score_mask(mask, truth)),
            }
            native = asdict(score_mask(native_mask, native_truth))
            row |= {f"{name}{AT_NATIVE_SIZE}": value for name, value in native.items()}
            if second is not None:
                mean = (torch.sigmoid(prediction.positive[i, 0]) + second[i, 0]) / 2
                row["positive_dice"] = score_mask(
                    torch.sigmoid(prediction.positive[i, 0]).numpy() > threshold, truth
                ).dice
                row["second_path_dice"] = score_mask(second[i, 0].numpy() > threshold, truth).dice
                row["mean_dice"] = score_mask(mean.numpy() > threshold, truth).dice
            rows.append(row)
            position += 1
    return pd.DataFrame(rows)
