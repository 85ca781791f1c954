"""Training settings: epochs, curriculum, optimiser, precision, model selection."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from taichinet.losses.objective import Step
from taichinet.settings import Settings

# Far above any useful value, so that a typing error is reported before data are read or memory is allocated.
MAX_EPOCHS, MAX_BATCH, MAX_LEARNING_RATE = 100_000, 4096, 10.0
MAX_SEED = 2**32 - 1  # `fit.epoch_batches` multiplies it, and PyTorch's generator accepts 64 bits


class TrainingSettings(Settings):
    """Training settings. The defaults are those of the paper (Sec. V-B), and docs/fidelity.md for what it leaves open.

    Attributes:
        epochs: Number of epochs.
        batch_size: Images per optimiser step.
        accumulate: Number of micro-batches per batch, to reduce memory. The gradient is that of the whole batch, except
            that BatchNorm normalises each micro-batch by its own mean and variance.
        learning_rate: Initial learning rate of Adam.
        schedule: Constant learning rate, or cosine decay to 1 % of it.
        warmup_epochs: Number of first epochs in which the learning rate increases linearly.
        optimizer: Adam, or AdamW (Loshchilov and Hutter, 2019) with `weight_decay`.
        weight_decay: Weight decay of AdamW. Biases and the parameters of norms have none.
        encoder_rate: Factor of the learning rate for the modules named `encoder`, below 1 for pretrained encoders.
        average_decay: Decay per optimiser step of an exponential moving average of the weights, which is validated and
            selected in place of the weights; 0 for none.
        strategy: easy-to-hard (E_p in the first `easy_share` of the epochs, then H_p and L_C), or plain.
        easy_share: Fraction of the epochs in the easy step.
        selection: Weights of the epoch with the best Dice on the inner validation split, or of the last epoch.
        precision: bf16 if the hardware supports it natively (auto), or always bf16 or float32.
        channels_last: Whether to use the channels-last memory layout where it is faster.
        seed: Seed of the random generators.
    """

    epochs: int = Field(default=40, ge=1, le=MAX_EPOCHS)
    batch_size: int = Field(default=16, ge=2, le=MAX_BATCH)
    accumulate: int = Field(
        default=1, ge=1, le=MAX_BATCH, description="micro-batches per batch, of at least two images each"
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=MAX_LEARNING_RATE)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = Field(default=0, ge=0, le=MAX_EPOCHS)
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="of adamw")
    encoder_rate: float = Field(default=1.0, ge=0, le=10, description="factor of the learning rate of the encoder")
    average_decay: float = Field(default=0.0, ge=0, lt=1, description="of the moving average of the weights, 0: none")
    strategy: Literal["easy-to-hard", "plain"] = "easy-to-hard"
    easy_share: float = Field(default=0.25, ge=0, le=1)
    selection: Literal["best-validation-dice", "last"] = "best-validation-dice"
    precision: Literal["auto", "bf16", "float32"] = "auto"
    channels_last: bool = True
    seed: int = Field(default=0, ge=0, le=MAX_SEED)

    @model_validator(mode="after")
    def _micro_batches_have_a_variance(self) -> Self:
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} splits a batch of {self.batch_size} into parts of fewer than 2 images, "
                f"for which BatchNorm has no variance: use at most {self.batch_size // 2}"
            )
        return self

    @model_validator(mode="after")
    def _weight_decay_has_an_effect(self) -> Self:
        if self.weight_decay and self.optimizer == "adam":
            raise ValueError(f"weight_decay {self.weight_decay:g} is not used by adam: set optimizer to adamw")
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
