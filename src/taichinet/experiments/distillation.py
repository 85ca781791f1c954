"""Distillation: predictions of a teacher for the training images of the same fold, as an additional target."""

from __future__ import annotations

from pathlib import Path

import torch

from taichinet.datasets.folds import Split
from taichinet.datasets.prepared import Prepared, TeacherProbabilities
from taichinet.errors import FoldError
from taichinet.experiments.records import RESULT_FILE
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import WEIGHTS_FILE
from taichinet.storage.digest import digest_file
from taichinet.training.device import DeviceConfig
from taichinet.training.loop import predict_batches


def teacher_digest(run: Path) -> str:
    """SHA-256 of the weights of the completed run in folder `run`; raises FoldError if it is not complete."""
    weights = run / "weights" / WEIGHTS_FILE
    if not (run / RESULT_FILE).is_file() or not weights.is_file():
        raise FoldError(
            f"The teacher has not finished this fold: no result.json or no weights in {run}. Train that recipe on the "
            "same data, protocol and fold into the same --output first."
        )
    return digest_file(weights)


def predict_teacher(
    run: Path, train: Prepared, split: Split, device_config: DeviceConfig, batch_size: int = 16
) -> TeacherProbabilities:
    """Predict the lesion probability of every training image with the teacher.

    The images are not augmented; the training transforms the probabilities together with the images. The probabilities
    are quantised to 8 bits.

    Raises:
        FoldError: The teacher was trained on a validation or test image of this fold or selected on a test image, or
            it needs another input resolution, number of channels or number of regions.
    """
    loaded = load_weights(run / "weights")
    provenance = loaded.config.provenance
    learned, selected = set(provenance["train_keys"]), set(provenance["validation_keys"])
    leaked = sorted((learned & {*split.validation, *split.test}) | (selected & set(split.test)))
    if leaked:
        raise FoldError(
            f"{len(leaked)} held-out images were used in training the teacher in {run} ({', '.join(leaked[:3])}"
            f"{', ...' if len(leaked) > 3 else ''}), which would bias the scores. Train it on the same folds."
        )
    regions = int(loaded.config.options.get("num_classes", 1))
    shape = (loaded.channels, loaded.config.size, regions)
    if shape != (required := (train.image.shape[1], train.image.shape[-1], train.lesion.shape[1])):
        raise FoldError(
            f"The teacher in {run} has (channels, size, regions) {shape}, the student {required}. They must be equal."
        )
    network = device_config.place(loaded.network)
    outputs = [prediction.lesion for prediction in predict_batches(network, train.batches(batch_size), device_config)]
    return TeacherProbabilities(train.keys, torch.cat(outputs).mul(255).round().to(torch.uint8).contiguous())
