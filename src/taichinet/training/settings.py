"""Training settings: epochs, curriculum, optimiser, precision, model selection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from taichinet.losses.objective import Step
from taichinet.settings import Settings

# Far above any useful value, so that a typing error is reported before data are read or memory is allocated.
MAX_EPOCHS, MAX_BATCH, MAX_LEARNING_RATE = 100_000, 4096, 10.0
MOMENTUM = 0.9
MAX_SEED = 2**32 - 1  # `fit.epoch_batches` multiplies it, and PyTorch's generator accepts 64 bits


class TrainingSettings(Settings):
    """Training settings. The defaults are those of the paper (Sec. V-B); docs/reference/fidelity.md has the others.

    AdamW is that of Loshchilov and Hutter (ICLR 2019); weight decay of SGD is added to the gradient.
    """

    epochs: int = Field(default=40, ge=1, le=MAX_EPOCHS, description="number of epochs")
    batch_size: int = Field(default=16, ge=2, le=MAX_BATCH, description="images per optimiser step")
    accumulate: int = Field(
        default=1,
        ge=1,
        le=MAX_BATCH,
        description="micro-batches per batch, of at least two images each, to reduce memory; the gradient is that of "
        "the whole batch, but BatchNorm normalises each micro-batch",
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=MAX_LEARNING_RATE, description="initial learning rate")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="constant learning rate, or cosine decay to 1 % of it in the last epoch"
    )
    warmup_epochs: int = Field(
        default=0, ge=0, le=MAX_EPOCHS, description="first epochs, in which the learning rate increases linearly"
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        default="adam", description="Adam, AdamW, or stochastic gradient descent with momentum"
    )
    momentum: float = Field(default=MOMENTUM, ge=0, lt=1, description="momentum of sgd")
    nesterov: bool = Field(default=False, description="Nesterov momentum of sgd")
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="of adamw and sgd; biases and the parameters of norms have none",
    )
    encoder_rate: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="factor of the learning rate for the modules named encoder, below 1 for pretrained encoders",
    )
    average_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay per optimiser step of a moving average of the weights, which is validated and selected in "
        "place of the weights; 0 for none",
    )
    strategy: Literal["easy-to-hard", "plain"] = Field(
        default="easy-to-hard",
        description="easy-to-hard (the easy pixels of lesions in the first epochs, then the hard pixels and the "
        "complementary loss), or plain",
    )
    easy_share: float = Field(default=0.25, ge=0, le=1, description="share of the epochs in the easy step")
    selection: Literal["best-validation-dice", "last"] = Field(
        default="best-validation-dice",
        description="weights of the epoch with the best Dice on the inner validation split, or of the last epoch",
    )
    patience: int = Field(
        default=0,
        ge=0,
        le=MAX_EPOCHS,
        description="early stopping: the training ends after this number of epochs without a better validation Dice, "
        "counted in the last curriculum step; 0 for all epochs",
    )
    precision: Literal["auto", "bf16", "float32"] = Field(
        default="auto", description="bf16 if the hardware supports it natively (auto), or always bf16 or float32"
    )
    channels_last: bool = Field(
        default=True, description="whether to use the channels-last memory layout where it is faster"
    )
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="seed of weights, order and augmentation")

    @model_validator(mode="after")
    def _micro_batches_have_a_variance(self) -> Self:
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} splits a batch of {self.batch_size} into parts of fewer than 2 images, "
                f"for which BatchNorm has no variance: use at most {self.batch_size // 2}"
            )
        return self

    @model_validator(mode="after")
    def _options_of_the_optimizer_have_an_effect(self) -> Self:
        if self.weight_decay and self.optimizer == "adam":
            raise ValueError(f"weight_decay {self.weight_decay:g} is not used by adam: set optimizer to adamw or sgd")
        if self.optimizer != "sgd" and (self.momentum != MOMENTUM or self.nesterov):
            name = "nesterov" if self.nesterov else f"momentum {self.momentum:g}"
            raise ValueError(f"{name} is not used by {self.optimizer}: set optimizer to sgd, or leave it out")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @property
    def micro_batch_size(self) -> int:
        """Maximum number of images in a micro-batch."""
        return -(-self.batch_size // self.accumulate)

    def step(self, epoch: int) -> Step:
        """Curriculum step of `epoch` (from 0)."""
        if self.strategy == "plain":
            return "plain"
        return "easy" if epoch < round(self.easy_share * self.epochs) else "hard"

    def stopped_after(self, history: Sequence[Mapping[str, Any]]) -> int | None:
        """Number of epochs after which early stopping ends the training.

        Args:
            history: The rows of the completed epochs, with `step` and `validation_dice`.

        Returns:
            The number of epochs, at most those in `history`; None if the training goes on.
        """
        best, waited, last_step = -math.inf, 0, self.step(self.epochs - 1)
        for row in history if self.patience else ():
            if row["step"] != last_step:
                continue
            better = row["validation_dice"] > best
            best, waited = (row["validation_dice"], 0) if better else (best, waited + 1)
            if waited == self.patience:
                return int(row["epoch"])
        return None
