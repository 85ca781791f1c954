"""Inference wrapper that only computes the outputs needed: lesion probability and, optionally, disagreement."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from taichinet.batch import Prediction
from taichinet.models.taichinet.network import TaiChiNet
from taichinet.models.two_paths import TwoPaths


class InferenceWrapper(nn.Module):
    """Image (B, C, S, S) in [0, 1] -> (lesion,) or (lesion, disagreement), each (B, 1, S, S).

    Without the disagreement, parts that do not affect the mask are skipped if there is no head and the output is O_p:
    the negative decoder of TaiChiNet (the whole negative path without cross-attention), or the second network of
    `TwoPaths`. With the head of the paper, O_p depends on O_n (Eq. 11), and the whole network is needed.
    """

    def __init__(self, network: nn.Module, disagreement: bool) -> None:
        """Wrap a network.

        Args:
            network: A network that returns a `Prediction`.
            disagreement: Whether to compute the disagreement of the two paths.
        """
        super().__init__()
        self.network = network
        self.disagreement = disagreement

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs for `image`; only the lesion probability for one-path networks."""
        prediction = self._all_outputs(image) if self.disagreement else self._lesion_only(image)
        second = prediction.disagreement if self.disagreement else None
        return (prediction.lesion,) if second is None else (prediction.lesion, second)

    def _all_outputs(self, image: Tensor) -> Prediction:
        return cast(Prediction, self.network(image))

    def _lesion_only(self, image: Tensor) -> Prediction:
        network = self.network
        if isinstance(network, TaiChiNet) and _lesion_needs_one_path(network, network.settings.answer):
            *skips, deep = network.positive.encode(image)
            if network.negative is not None and network.cross_attention is not None:
                _, deep = network.cross_attention(network.negative.encode(image)[-1], deep)
            return Prediction(positive=network.positive.decode(tuple(skips), deep).float())
        if isinstance(network, TwoPaths) and _lesion_needs_one_path(network, network.coupling.answer):
            return cast(Prediction, network.positive(image))
        return self._all_outputs(image)


def _lesion_needs_one_path(network: TaiChiNet | TwoPaths, answer: str) -> bool:
    """Whether the lesion probability does not depend on the output of the negative path."""
    return network.head is None and answer == "positive"
