"""Batch and Prediction: the only values that cross from data to network to loss to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32 where they have fewer bits; float64 keeps its own, for checks of the arithmetic."""
    return values if values.dtype == torch.float64 else values.float()


@dataclass(frozen=True)
class Batch:
    """Images and their targets at network size; every mask is float 0 or 1.

    Shapes: `image` (B, C, H, W) in [0, 1]; `lesion` (B, R, H, W), the ground truth G_p of R regions;
    `easy` and `hard` (B, R, H, W), the parts E_p and H_p of the lesion (Eq. 23-24), or None where nothing was mined.
    `teacher_probability` (B, R, H, W) in [0, 1] is the lesion probability of a teacher, or None without one.
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
        """This batch as `parts` of even size, fewer where they would hold a single image; views, nothing is copied."""
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
        """This batch on `device`; the image in `memory_format`."""
        return Batch(
            image=self.image.to(device, memory_format=memory_format),
            lesion=self.lesion.to(device),
            easy=None if self.easy is None else self.easy.to(device),
            hard=None if self.hard is None else self.hard.to(device),
            teacher_probability=None if self.teacher_probability is None else self.teacher_probability.to(device),
        )


@dataclass(frozen=True)
class Feedback:
    """What a network of two passes says on the way (RF-Net): logits of its first pass and of the residual map.

    `first_pass` is (B, R, H, W); `residual`, (B, R, h, w) at the size the network makes it, says where the final
    answer is expected to be wrong.
    """

    first_pass: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What a variational branch says (X-Net): the image drawn again, (B, C, H, W), and its latent normal (B, L)."""

    image: Tensor
    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class Prediction:
    """What a network says of a batch, as logits (B, R, H, W); probabilities are their sigmoid.

    `positive` is the lesion path's output O_p and `negative` the second path's O_n (None for one-path networks).
    `negative_sees` says what the second path was asked for: the background (complementary mutual learning) or the
    lesion once more (consistent mutual learning, Table II). `answer` picks the final probability: O_p, or the mean
    of both paths (Model 2). `levels` are the lesion outputs under deep supervision, coarse to fine, `positive` the last
    (U-Net++, DE-ResUnet); `feedback` and `reconstruction` are what single networks add. Nothing but their own loss
    terms reads these three.
    """

    positive: Tensor
    negative: Tensor | None = None
    negative_sees: Literal["background", "lesion"] = "background"
    answer: Literal["positive", "mean"] = "positive"
    levels: tuple[Tensor, ...] = ()
    feedback: Feedback | None = None
    reconstruction: Reconstruction | None = None

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
        """The lesion probability according to the second path: 1 - O_n, or O_n where it sees the lesion too."""
        if self.negative is None:
            return None
        logits = at_least_float32(self.negative)
        return torch.sigmoid(-logits if self.negative_sees == "background" else logits)

    @property
    def disagreement(self) -> Tensor | None:
        """Per-pixel |O_p - (1 - O_n)| in [0, 1]: where the two paths contradict each other."""
        second = self.second_opinion
        return None if second is None else (torch.sigmoid(at_least_float32(self.positive)) - second).abs()
