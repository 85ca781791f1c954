"""Distillation: what a trained recipe says of the training images of the same fold, as a further target."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from taichinet.datasets.folds import Split
from taichinet.datasets.prepared import Prepared, TeacherProbabilities
from taichinet.errors import FoldError
from taichinet.experiments.records import RESULT_FILE
from taichinet.models.weights import WEIGHTS_FILE, load_weights
from taichinet.training.device import DeviceConfig
from taichinet.training.loop import predict_batches


def teacher_digest(run: Path) -> str:
    """SHA-256 of the weights of the finished run in folder `run`; FoldError where it has none."""
    weights = run / "weights" / WEIGHTS_FILE
    if not (run / RESULT_FILE).is_file() or not weights.is_file():
        raise FoldError(
            f"The teacher has not finished this fold: no result.json or no weights in {run}. Train that recipe on the "
            "same data, protocol and fold into the same --out first."
        )
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def predict_teacher(
    run: Path, train: Prepared, split: Split, device_config: DeviceConfig, batch_size: int = 16
) -> TeacherProbabilities:
    """The teacher's lesion probability of every image of `train`, which must be the training part of `split`.

    Asked once, of the images as they are: training moves the answers along with the images. Raises FoldError where
    the teacher learned from an image that is validated or tested on here, or was selected by one that is tested on,
    or takes other images.
    """
    loaded = load_weights(run / "weights")
    provenance = loaded.config.provenance
    learned, selected = set(provenance["train_keys"]), set(provenance["validation_keys"])
    leaked = sorted((learned & {*split.validation, *split.test}) | (selected & set(split.test)))
    if leaked:
        raise FoldError(
            f"{len(leaked)} held-out images took part in training the teacher in {run} ({', '.join(leaked[:3])}"
            f"{', ...' if len(leaked) > 3 else ''}): the score would be dishonest. Train it on the same folds."
        )
    regions = int(loaded.config.options.get("num_classes", 1))
    takes = (loaded.channels, loaded.config.size, regions)
    if takes != (wanted := (train.image.shape[1], train.image.shape[-1], train.lesion.shape[1])):
        raise FoldError(
            f"The teacher in {run} has (channels, size, regions) {takes}, its pupil {wanted}. Give both the same."
        )
    network = device_config.place(loaded.network)
    answers = [prediction.lesion for prediction in predict_batches(network, train.batches(batch_size), device_config)]
    return TeacherProbabilities(train.keys, torch.cat(answers).mul(255).round().to(torch.uint8).contiguous())
