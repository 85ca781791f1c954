"""How a network is trained: epochs, curriculum, optimiser, precision, selection."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from taichinet.losses.objective import Step
from taichinet.settings import Settings

# Far beyond any use: a typing error is refused before data are read or memory is allocated.
MAX_EPOCHS, MAX_BATCH, MAX_LEARNING_RATE = 100_000, 4096, 10.0
MAX_SEED = 2**32 - 1  # `fit.epoch_batches` multiplies it, and torch's generator takes 64 bits


class TrainingSettings(Settings):
    """The defaults are the paper's (Sec. V-B); what it leaves open is answered in docs/fidelity.md.

    `strategy`: easy-to-hard (E_p for the first `easy_share` of the epochs, then H_p and L_C) or plain.
    `selection`: weights of the epoch with the best Dice on the inner validation split, or of the last epoch.
    `precision`: bf16 where the processor computes it natively (auto), or always one of the two.
    `accumulate`: into how many micro-batches a batch is cut where memory is short. The step is that of the whole
    batch but for BatchNorm, which then normalises each micro-batch by its own mean and variance.
    """

    epochs: int = Field(default=40, ge=1, le=MAX_EPOCHS)
    batch_size: int = Field(default=16, ge=2, le=MAX_BATCH)
    accumulate: int = Field(
        default=1, ge=1, le=MAX_BATCH, description="micro-batches a batch; each of two images at least"
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=MAX_LEARNING_RATE)
    schedule: Literal["constant", "cosine"] = "constant"
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
                f"accumulate {self.accumulate} cuts a batch of {self.batch_size} into parts of fewer than two images, "
                f"of which BatchNorm has no variance: take {self.batch_size // 2} at most"
            )
        return self

    @property
    def micro_batch_size(self) -> int:
        """The most images that pass the network together."""
        return -(-self.batch_size // self.accumulate)

    def step(self, epoch: int) -> Step:
        """The curriculum's step in `epoch` (from 0)."""
        if self.strategy == "plain":
            return "plain"
        return "easy" if epoch < round(self.easy_share * self.epochs) else "hard"
