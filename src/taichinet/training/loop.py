"""One epoch: the only place in the project where an optimiser takes a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from taichinet.batch import Batch, Prediction
from taichinet.errors import SettingError
from taichinet.training.device import Placement

BatchLoss = Callable[[Prediction, Batch], Tensor]


def train_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    loss_of: BatchLoss,
    optimizer: torch.optim.Optimizer,
    placement: Placement,
) -> float:
    """Train on every batch once; the mean loss over images. A loss that is not finite stops the run."""
    network.train()
    total, images = 0.0, 0
    for cpu_batch in batches:
        batch = cpu_batch.to(placement.device, placement.memory_format)
        with placement.autocast():
            prediction = network(batch.image)
        loss = loss_of(prediction, batch)
        value = loss.item()
        if not torch.isfinite(loss):
            raise SettingError(
                f"The loss became {value}. Lower the learning rate (training.learning_rate, or while mining "
                "mining.learning_rate), or set training.precision=float32; begin anew with --overwrite, since settings "
                "change."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += value * len(batch.image)
        images += len(batch.image)
    return total / max(images, 1)


@torch.inference_mode()
def predict_batches(network: nn.Module, batches: Iterable[Batch], placement: Placement) -> list[Prediction]:
    """Predictions of every batch, on the CPU, in order."""
    network.eval()
    predictions = []
    for cpu_batch in batches:
        batch = cpu_batch.to(placement.device, placement.memory_format)
        with placement.autocast():
            prediction: Prediction = network(batch.image)
        # What the loss terms alone read (feedback, reconstruction) is not carried on.
        predictions.append(
            Prediction(
                positive=prediction.positive.cpu(),
                negative=None if prediction.negative is None else prediction.negative.cpu(),
                negative_sees=prediction.negative_sees,
                answer=prediction.answer,
                levels=tuple(level.cpu() for level in prediction.levels),
            )
        )
    return predictions
