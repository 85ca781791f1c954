"""One predictor of the weights in a folder, or of those of all folds of a study, which are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from taichinet.errors import WeightsError
from taichinet.evaluation.decision import mean_decision, stored_decision
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.averaged import Ensemble, MirroredRuntime
from taichinet.inference.runtimes.choose import open_runtime
from taichinet.inference.runtimes.runtime import Runtime
from taichinet.models.weights_folder import LoadedWeights, find_weights, open_weights
from taichinet.training.device_choice import chosen_name, is_cpu

if TYPE_CHECKING:  # not at run time: with graph files, torch is not needed
    from taichinet.training.device import DeviceConfig


@dataclass(frozen=True)
class PredictorChoices:
    """How weights are used.

    Attributes:
        threshold: Probability threshold of the mask; None for that of the weights.
        presence_decision: Whether images whose presence score is too low get an empty mask.
        runtime: "auto" or the name of a runtime.
        disagreement: Whether to compute the disagreement of the two paths.
        mirror: Whether to average with the prediction for the mirror image.
        trust_code: Whether the code of networks from outside the package may be executed, see `load_weights`.
    """

    threshold: float | None = None
    presence_decision: bool = True
    runtime: str = "auto"
    disagreement: bool = True
    mirror: bool = False
    trust_code: bool = False


def open_predictor(
    path: Path, choices: PredictorChoices, report: Callable[[str], None] = lambda line: None
) -> tuple[Predictor, tuple[LoadedWeights, ...]]:
    """Load weights and set up their predictor.

    Args:
        path: A weights folder, a run folder, or a study folder, whose networks are averaged: their probabilities, and
            the numbers of their decisions.
        choices: How the weights are used.
        report: Called with the runtime of each network and why it is used; equal messages once.

    Returns:
        The predictor, and the weights.

    Raises:
        WeightsError: There are no weights, they cannot be read, or the networks have different inputs.
        SettingError: A choice is not valid.
    """
    folders = find_weights(path)
    members = tuple(open_weights(folder, choices.trust_code) for folder in folders)
    _refuse_different_inputs(members)
    device_config = _device_config()
    on_gpu = device_config is not None and device_config.device.type != "cpu"
    messages: list[str] = []
    runtimes: list[Runtime] = [
        open_runtime(choices.runtime, member, folder, choices.disagreement, on_gpu, messages.append)
        for member, folder in zip(members, folders, strict=True)
    ]
    for message in dict.fromkeys(messages):
        report(message)
    runtime = runtimes[0] if len(runtimes) == 1 else Ensemble(tuple(runtimes))
    if choices.mirror:
        runtime = MirroredRuntime(runtime)
    weights = members[0] if len(members) == 1 else _with_mean_decision(members, path)
    predictor = Predictor(weights, device_config, choices.threshold, runtime, choices.presence_decision)
    return predictor, members


def _device_config() -> DeviceConfig | None:
    """The chosen device with its precision and memory layout; None for the CPU if torch need not be asked."""
    if is_cpu(chosen_name()):
        return None
    from taichinet.training.device import choose_device_config

    return choose_device_config()


def _with_mean_decision(members: Sequence[LoadedWeights], path: Path) -> LoadedWeights:
    """The first of the weights, with the decision of the ensemble and the name of its folder."""
    first = members[0]
    mean = mean_decision([stored_decision(m.config.decision, m.config.threshold, m.name) for m in members])
    config = replace(first.config, decision=mean.model_dump(), threshold=mean.threshold)
    return replace(first, config=config, folder=path)


def _refuse_different_inputs(members: Sequence[LoadedWeights]) -> None:
    first = members[0]
    for other in members[1:]:
        if (other.config.size, other.channels) != (first.config.size, first.channels):
            raise WeightsError(
                f"{first.name} takes images of {first.config.size} px with {first.channels} channel(s), but "
                f"{other.name} of {other.config.size} px with {other.channels}. Networks that are averaged need the "
                "same input: give one of them."
            )
