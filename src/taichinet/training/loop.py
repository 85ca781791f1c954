"""One epoch of training, and prediction in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from taichinet.batch import Batch, Prediction
from taichinet.errors import SettingError
from taichinet.models.weights import all_finite, first_not_finite
from taichinet.training.device import DeviceConfig
from taichinet.training.distributed.cross_rank_norm import norms_across, set_padding
from taichinet.training.gpu.use import training_layers

BatchLoss = Callable[[Prediction, Batch], Tensor]
Replay = Callable[[Batch, Callable[[Batch], Tensor]], Tensor]


class NotFiniteError(SettingError):
    """A loss, weight or output is NaN or infinite."""

    def __init__(self, what: str) -> None:
        """`what` is the first sentence of the message, without the period."""
        super().__init__(
            f"{what}. Lower the learning rate (training.learning_rate, or while mining mining.learning_rate), or set "
            "training.precision=float32; train again with --overwrite, since settings change."
        )


@dataclass(frozen=True)
class TrainingStep:
    """One optimiser step on a batch.

    With `accumulate` micro-batches per batch (gradient accumulation), the loss of each micro-batch is weighted by its
    share of the images. Losses are means over images, so the sum is the gradient of the whole batch, except for the
    BatchNorm statistics. With several ranks, all ranks take the same batches, and each processes its share of every
    micro-batch.

    Attributes:
        network: The network, on its device.
        loss_of: Loss of a prediction for a batch.
        optimizer: Optimiser of the network.
        device_config: Device, precision and ranks.
        accumulate: Micro-batches per batch.
    """

    network: nn.Module
    loss_of: BatchLoss
    optimizer: torch.optim.Optimizer
    device_config: DeviceConfig
    accumulate: int = 1

    def __call__(self, whole: Batch) -> Tensor:
        """Change the weights; return the loss of the images of this rank, weighted by their share of the batch."""
        ranks = self.device_config.ranks
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for micro_batch in whole.split(self.accumulate):
            own = ranks.share(micro_batch)
            set_padding(self.network, own.is_padding)
            batch = own.batch.to(self.device_config.device, self.device_config.memory_format)
            with self.device_config.autocast():
                prediction = self.network(batch.image)
            loss = self.loss_of(prediction, batch) * (own.images / len(whole.image))
            loss.backward()
            losses.append(loss.detach())
        ranks.sum_gradients(self.network)
        self.optimizer.step()
        return torch.stack(losses).sum()


def train_epoch(step: TrainingStep, batches: Iterable[Batch], replay: Replay | None = None) -> float:
    """Train on every batch once, with one optimiser step per batch.

    Args:
        step: The optimiser step.
        batches: Batches on any device.
        replay: Runs a step as a CUDA graph, which needs a single process and one micro-batch per batch.

    Returns:
        Mean loss over images.

    Raises:
        NotFiniteError: A loss, weight or running statistic is not finite. This is checked after the epoch, so that no
            step waits for the device.
    """
    network, ranks = step.network.train(), step.device_config.ranks
    losses, images = list[Tensor](), list[int]()
    with norms_across(network, ranks), training_layers(network, step.device_config):
        for batch in batches:
            losses.append(step(batch) if replay is None else replay(batch, step))
            images.append(len(batch.image))
    values = torch.stack(losses).tolist() if losses else []
    for value in values:
        if not isfinite(value):
            raise NotFiniteError(f"The loss became {value}")
    name = first_not_finite(network.state_dict())
    if name is not None:
        raise NotFiniteError(f"The network's tensor '{name}' has values that are not finite")
    total = sum(value * count for value, count in zip(values, images, strict=True))
    return ranks.sum(total) / max(sum(images), 1)


@torch.inference_mode()
def network_outputs(
    network: nn.Module, batches: Iterable[Batch], device_config: DeviceConfig
) -> Iterator[tuple[Batch, Prediction]]:
    """Run the network in evaluation mode on every batch.

    Args:
        network: The network, on its device.
        batches: Batches on any device.
        device_config: Device and precision.

    Yields:
        Each batch and its prediction, on the device. They are not checked, so that nothing waits for the device.
    """
    network.eval()
    for batch in batches:
        on_device = batch.to(device_config.device, device_config.memory_format)
        with device_config.autocast():
            prediction = network(on_device.image)
        yield on_device, prediction


def finite_outputs(prediction: Prediction) -> Tensor:
    """Whether the outputs of both paths are finite: (2,) bool on the device, true without a second path."""
    lesion = all_finite(prediction.positive)
    second = torch.ones_like(lesion) if prediction.negative is None else all_finite(prediction.negative)
    return torch.stack([lesion, second])


def refuse_not_finite_outputs(finite: Tensor) -> None:
    """Raise NotFiniteError if a value of `finite`, (B, 2) results of `finite_outputs`, is false."""
    for name, path_is_finite in zip(("lesion", "second path"), finite.all(dim=0).tolist(), strict=True):
        if not path_is_finite:
            raise NotFiniteError(f"The network's output ({name}) has values that are not finite")


def predict_batches(network: nn.Module, batches: Iterable[Batch], device_config: DeviceConfig) -> list[Prediction]:
    """Run the network in evaluation mode on every batch.

    Args:
        network: The network, on its device.
        batches: Batches on any device.
        device_config: Device and precision.

    Returns:
        Predictions on the CPU, in the order of the batches, without `feedback` and `reconstruction`.

    Raises:
        NotFiniteError: An output is NaN or infinite. Such values would appear as "no lesion" in a mask.
    """
    predictions = []
    for _, prediction in network_outputs(network, batches, device_config):
        refuse_not_finite_outputs(finite_outputs(prediction)[None])
        # Outputs that are only used by loss terms (feedback, reconstruction) are dropped.
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
