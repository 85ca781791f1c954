"""Batch and Prediction: the interface between data, networks, losses and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Convert half precision to float32; float64, which is used by numerical tests, is kept."""
    return values if values.dtype == torch.float64 else values.float()


@dataclass(frozen=True)
class Batch:
    """Images and targets at input resolution. Masks are floats 0 or 1.

    Attributes:
        image: (B, C, H, W) in [0, 1].
        lesion: Ground truth G_p of R regions, (B, R, H, W).
        easy: Part E_p of the lesion (Eq. 23), (B, R, H, W); None without learning strategy.
        hard: Part H_p of the lesion (Eq. 24), (B, R, H, W); None without learning strategy.
        teacher_probability: Lesion probability of a teacher, (B, R, H, W) in [0, 1]; None without a teacher.
    """

    image: Tensor
    lesion: Tensor
    easy: Tensor | None = None
    hard: Tensor | None = None
    teacher_probability: Tensor | None = None

    @property
    def background(self) -> Tensor:
        """Ground truth G_n, the complement of G_p."""
        return 1 - self.lesion

    def split(self, parts: int) -> tuple[Batch, ...]:
        """Split into `parts` views of about equal size; into fewer if a part would have a single image."""
        parts = max(min(parts, len(self.image) // 2), 1)

        def cut(value: Tensor | None) -> Sequence[Tensor | None]:
            return [None] * parts if value is None else torch.tensor_split(value, parts)

        pieces = zip(
            torch.tensor_split(self.image, parts),
            torch.tensor_split(self.lesion, parts),
            cut(self.easy),
            cut(self.hard),
            cut(self.teacher_probability),
            strict=True,
        )
        return tuple(Batch(*piece) for piece in pieces)

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Batch:
        """Copy to `device`, the image in `memory_format`."""
        return Batch(
            image=self.image.to(device, memory_format=memory_format),
            lesion=self.lesion.to(device),
            easy=None if self.easy is None else self.easy.to(device),
            hard=None if self.hard is None else self.hard.to(device),
            teacher_probability=None if self.teacher_probability is None else self.teacher_probability.to(device),
        )


@dataclass(frozen=True)
class Feedback:
    """Additional outputs of a network with two passes (RF-Net), as logits.

    Attributes:
        first_pass: Output of the first pass, (B, R, H, W).
        residual: Predicted error of the final output, (B, R, h, w) at the resolution of the network layer.
    """

    first_pass: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """Outputs of a variational branch (X-Net): reconstruction (B, C, H, W), and mean and log variance (B, L)."""

    image: Tensor
    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class Prediction:
    """Output of a network for a batch, as logits (B, R, H, W).

    Attributes:
        positive: Output O_p of the lesion path.
        negative: Output O_n of the second path; None for networks with one path.
        negative_sees: Target of the second path: the background (complementary mutual learning) or the lesion
            (consistent mutual learning, Table II).
        answer: The final probability: that of O_p, or the mean of both paths (Model 2).
        levels: Outputs under deep supervision, coarse to fine, `positive` last (U-Net++, DE-ResUnet). Only used by
            loss terms, as are the following.
        feedback: Additional outputs of RF-Net.
        reconstruction: Additional outputs of X-Net.
        presence: Logits that the image shows each region at all, (B, R), which `positive` includes already (presence
            head of the lite networks).
    """

    positive: Tensor
    negative: Tensor | None = None
    negative_sees: Literal["background", "lesion"] = "background"
    answer: Literal["positive", "mean"] = "positive"
    levels: tuple[Tensor, ...] = ()
    feedback: Feedback | None = None
    reconstruction: Reconstruction | None = None
    presence: Tensor | None = None

    @property
    def lesion(self) -> Tensor:
        """The final lesion probability, (B, R, H, W) in [0, 1]."""
        if self.answer == "mean":
            second = self.second_opinion
            if second is not None:
                return (torch.sigmoid(at_least_float32(self.positive)) + second) / 2
        return torch.sigmoid(at_least_float32(self.positive))

    @property
    def second_opinion(self) -> Tensor | None:
        """Lesion probability of the second path, 1 - O_n, or O_n if its target is the lesion; None for one path."""
        if self.negative is None:
            return None
        logits = at_least_float32(self.negative)
        return torch.sigmoid(-logits if self.negative_sees == "background" else logits)

    @property
    def disagreement(self) -> Tensor | None:
        """Disagreement of the two paths per pixel, `|O_p - (1 - O_n)|` in [0, 1]; None for one path."""
        second = self.second_opinion
        return None if second is None else (torch.sigmoid(at_least_float32(self.positive)) - second).abs()
