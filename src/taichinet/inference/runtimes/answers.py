"""Answers: a network reduced to what is asked of it, the lesion's probability and perhaps the paths' disagreement."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from taichinet.batch import Prediction
from taichinet.models.taichinet.network import TaiChiNet
from taichinet.models.two_paths import TwoPaths


class Answers(nn.Module):
    """Image float (B, C, S, S) in [0, 1] -> (lesion,) or (lesion, disagreement), each float (B, 1, S, S).

    Without the disagreement, whatever the mask does not depend on is not computed: where no head couples the outputs
    and the answer is O_p, that is TaiChiNet's negative decoder (without cross-attention its negative path whole), and
    the twin of a network with a second path. With the paper's head O_p reads O_n (Eq. 11): all of it is needed.
    """

    def __init__(self, network: nn.Module, disagreement: bool) -> None:
        super().__init__()
        self.network = network
        self.disagreement = disagreement

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The answers for `image`."""
        prediction = self._complete(image) if self.disagreement else self._lesion_alone(image)
        second = prediction.disagreement if self.disagreement else None
        return (prediction.lesion,) if second is None else (prediction.lesion, second)

    def _complete(self, image: Tensor) -> Prediction:
        return cast(Prediction, self.network(image))

    def _lesion_alone(self, image: Tensor) -> Prediction:
        network = self.network
        if isinstance(network, TaiChiNet) and _lesion_stands_alone(network, network.settings.answer):
            *skips, deep = network.positive.encode(image)
            if network.negative is not None and network.cross_attention is not None:
                _, deep = network.cross_attention(network.negative.encode(image)[-1], deep)
            return Prediction(positive=network.positive.decode(tuple(skips), deep).float())
        if isinstance(network, TwoPaths) and _lesion_stands_alone(network, network.coupling.answer):
            return cast(Prediction, network.positive(image))
        return self._complete(image)


def _lesion_stands_alone(network: TaiChiNet | TwoPaths, answer: str) -> bool:
    return network.head is None and answer == "positive"
