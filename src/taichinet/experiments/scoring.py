"""Scores of a network on images: one row per image and region, at network size and at native size."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import torch
from torch import nn

from taichinet.datasets.images import region_masks
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
    """A row for each sample of `data` and region: key, label, fold, region and every score of `score_mask`, twice.

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
        lesion, second = prediction.lesion, prediction.second_opinion  # once a batch, not once an image
        for i in range(len(batch.image)):
            key = data.keys[position]
            drawn = region_masks(samples[key], len(manifest.regions))
            for r, region in enumerate(manifest.regions):
                probability = lesion[i : i + 1, r : r + 1]
                truth = batch.lesion[i, r].numpy() > 0.5
                native_mask = resize_probability(probability, drawn[r].shape) > threshold
                native = asdict(score_mask(native_mask, drawn[r]))
                row = {
                    "key": key,
                    "label": data.labels[position],
                    "fold": fold,
                    "region": region,
                    **asdict(score_mask(probability[0, 0].numpy() > threshold, truth)),
                    **{f"{name}{AT_NATIVE_SIZE}": value for name, value in native.items()},
                }
                if second is not None:
                    outputs = {
                        "positive": torch.sigmoid(prediction.positive[i, r].float()),
                        "second_path": second[i, r],
                    }
                    outputs["mean"] = (outputs["positive"] + outputs["second_path"]) / 2
                    row |= {
                        f"{name}_dice": score_mask(output.numpy() > threshold, truth).dice
                        for name, output in outputs.items()
                    }
                rows.append(row)
            position += 1
    return pd.DataFrame(rows)
