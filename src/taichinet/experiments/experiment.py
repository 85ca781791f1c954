"""Experiment: all settings of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.errors import SettingError, unknown_name
from taichinet.evaluation.operating_point import DecisionSettings
from taichinet.losses.objective import ObjectiveSettings
from taichinet.models.catalogue import model_settings, size_multiple
from taichinet.models.settings import MAX_SIZE, SIZE_MULTIPLE
from taichinet.settings import Settings
from taichinet.storage.documents import parse_yaml, shortened
from taichinet.training.easy_hard import MiningSettings
from taichinet.training.settings import TrainingSettings

_WHERE = "every setting is in the experiment.yaml of a run"


class DataSettings(Settings):
    """Images and split of a run. The fold protocol is an option of the command."""

    size: int = Field(
        default=224,
        gt=0,
        le=MAX_SIZE,
        description="input resolution in pixels, both sides, a multiple of 16 or of what the network takes",
    )
    include_normal: bool = Field(default=False, description="whether to include images without lesion")
    folds: int = Field(default=5, ge=2, le=10_000, description="number of folds")
    fold_seed: int = Field(default=0, ge=0, lt=2**31, description="seed of the folds")
    validation_share: float = Field(
        default=0.125, ge=0, le=0.5, description="share of the training images of the fold, rounded to 1/n"
    )
    augmentation: AugmentationSettings = Field(
        default=AugmentationSettings(), description="random changes of the training images"
    )
    mix: Literal["proportional", "equal"] = Field(
        default="proportional", description="how often the images of each of several data sets are drawn in an epoch"
    )


class Experiment(Settings):
    """A named recipe. `model` and `options` are validated with the catalogue of networks."""

    name: str = Field(pattern=r"^\w[\w.+-]*$", description="name of the folder of its runs")
    model: str = Field(default="taichinet", description="network, see `taichinet models`")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the network")
    data: DataSettings = Field(default=DataSettings(), description="images and split")
    objective: ObjectiveSettings = Field(default=ObjectiveSettings(), description="loss terms and their weights")
    training: TrainingSettings = Field(default=TrainingSettings(), description="training")
    mining: MiningSettings = Field(
        default=MiningSettings(), description="mining of the easy and hard pixels of lesions, for easy-to-hard"
    )
    decision: DecisionSettings = Field(default=DecisionSettings(), description="choice of the threshold")
    teacher: str | None = Field(
        default=None, description="recipe for distillation, whose run of the same fold must be complete; null: none"
    )
    initial_weights: str | None = Field(
        default=None,
        description="origin of the weights of `train --from`, which sets it; null: random or ImageNet weights",
    )

    @field_validator("options")
    @classmethod
    def _copy(cls, value: dict[str, Any]) -> dict[str, Any]:
        return dict(value)

    @model_validator(mode="after")
    def _model_can_be_built(self) -> Experiment:
        # The mining stage and the predictor take multiples of SIZE_MULTIPLE, whatever the network takes.
        multiple = lcm(SIZE_MULTIPLE, size_multiple(self.model, **self.options))
        size = self.data.size
        if size % multiple:
            below = size // multiple * multiple
            nearest = [f"data.size={near}" for near in (below, below + multiple) if 0 < near <= MAX_SIZE]
            raise ValueError(
                f"data.size = {size} does not fit model '{self.model}', which takes multiples of {multiple}: set "
                f"{' or '.join(nearest)}"
            )
        return self

    @property
    def channels(self) -> int:
        """Input channels of the network: 1 (grey) or 3 (RGB)."""
        return int(model_settings(self.model, **self.options).in_channels)


def vary(experiment: Experiment, changes: Mapping[str, object]) -> Experiment:
    """A validated copy with other values: `vary(paper, {"training.epochs": 3, "options.head": "none"})`.

    Args:
        experiment: The recipe.
        changes: Values by dotted key.

    Raises:
        SettingError: A key is unknown, or a value is not valid.
    """
    raw = experiment.model_dump()
    for key, value in changes.items():
        section, known = raw, tuple(raw)
        *parents, last = key.split(".")
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                raise unknown_name("setting", key, tuple(flat_settings(experiment)), _WHERE)
            section = section[parent]
            known = tuple(section)
        if parents not in (["options"], ["objective", "terms"]) and last not in known:
            raise unknown_name("setting", key, tuple(flat_settings(experiment)), _WHERE)
        section[last] = value
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        details = "; ".join(_describe(e) for e in error.errors())
        raise SettingError(f"The experiment is not valid: {details}.") from error


def with_seeds(experiment: Experiment, seeds: Sequence[int] | None) -> list[Experiment]:
    """The recipe with each training seed, named NAME+seedK unless K is its own seed, so that folders do not collide.

    Without `seeds`, the recipe itself.
    """
    own = experiment.training.seed
    names = {seed: experiment.name + ("" if seed == own else f"+seed{seed}") for seed in seeds or (own,)}
    return [vary(experiment, {"name": name, "training.seed": seed}) for seed, name in names.items()]


def _describe(error: ErrorDetails) -> str:
    """Key, value and reason of one error of validation; without the value if it is a section of settings."""
    key, value, reason = ".".join(map(str, error["loc"])), error["input"], error["msg"]
    if not isinstance(value, dict):
        return f"{key} = {shortened(repr(value))}: {reason}"
    reason = reason.removeprefix("Value error, ")
    return f"{key}: {reason}" if key else reason


def parse_assignments(assignments: list[str]) -> dict[str, object]:
    """`["training.epochs=3"]` -> {"training.epochs": 3}; values are YAML scalars or lists."""
    changes: dict[str, object] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise SettingError(f"Invalid setting '{assignment}'. Write key=value, e.g. --set training.epochs=20.")
        changes[key.strip()] = parse_yaml(text, f"The value of '{shortened(assignment)}'", SettingError)
    return changes


def flat_settings(experiment: Experiment) -> dict[str, object]:
    """All settings by dotted key, including the defaults of the network options."""
    options = model_settings(experiment.model, **experiment.options).model_dump()
    return flatten({**experiment.model_dump(), "options": options})


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested settings by dotted key."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
