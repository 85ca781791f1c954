"""The runtimes eager, tuned and tuned-bf16.

Their implementation in `eager.py` is imported when they are opened: it needs torch.
"""

from __future__ import annotations

from pathlib import Path

from taichinet.inference.runtimes.runtime import Precision, Runtime, RuntimeSpec
from taichinet.models.weights_folder import LoadedWeights


def _open_plain(loaded: LoadedWeights, graph: Path, precision: Precision, disagreement: bool) -> Runtime:
    from taichinet.inference.runtimes.eager import Eager
    from taichinet.training.device import choose_device_config

    return Eager(loaded.network, choose_device_config("float32", channels_last=False), disagreement)


def _open_tuned(loaded: LoadedWeights, graph: Path, precision: Precision, disagreement: bool) -> Runtime:
    from taichinet.inference.runtimes.eager import Tuned
    from taichinet.training.device import choose_device_config

    return Tuned(loaded.network, choose_device_config("bf16") if precision == "bf16" else None, disagreement)


def _open_tuned_bf16(loaded: LoadedWeights, graph: Path, precision: Precision, disagreement: bool) -> Runtime:
    return _open_tuned(loaded, graph, "bf16", disagreement)


PLAIN_SPEC = RuntimeSpec("eager", _open_plain, packages=("torch",), extra="train", uses_device=True)
TUNED_SPEC = RuntimeSpec("tuned", _open_tuned, packages=("torch",), extra="train", uses_device=True)
TUNED_BF16_SPEC = RuntimeSpec("tuned-bf16", _open_tuned_bf16, packages=("torch",), extra="train", uses_device=True)
