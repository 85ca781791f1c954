"""Experiment: everything that decides a run, as one frozen value; varied by replacing fields, never by subclassing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.errors import SettingError, unknown_name
from taichinet.losses.objective import ObjectiveSettings
from taichinet.models.catalogue import find_entry, model_settings
from taichinet.models.input_size import MAX_SIZE, SIZE_MULTIPLE
from taichinet.settings import Settings
from taichinet.storage.documents import parse_yaml, shortened
from taichinet.training.easy_hard import MiningSettings
from taichinet.training.settings import TrainingSettings

_WHERE = "every setting is in the experiment.yaml of a run"


class DataSettings(Settings):
    """What of the data a run reads, and how it is split (the fold protocol is the command's)."""

    size: int = Field(
        default=224,
        ge=SIZE_MULTIPLE,
        le=MAX_SIZE,
        multiple_of=SIZE_MULTIPLE,
        description="network size in pixels, both sides; some networks take multiples of 32 only",
    )
    include_normal: bool = False
    folds: int = Field(default=5, ge=2, le=10_000)
    fold_seed: int = Field(default=0, ge=0, lt=2**31)
    validation_share: float = Field(
        default=0.125, ge=0, le=0.5, description="of the fold's training part, to the nearest 1/n"
    )
    augmentation: AugmentationSettings = AugmentationSettings()


class Experiment(Settings):
    """A named recipe. `model` and `options` are checked against the catalogue when the value is made.

    `teacher` names a recipe whose finished run of the same fold, in the same folder of runs, teaches this one.
    """

    name: str = Field(pattern=r"^\w[\w.+-]*$", description="names the folder of its runs")
    model: str = "taichinet"
    options: dict[str, Any] = Field(default_factory=dict)
    data: DataSettings = DataSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    mining: MiningSettings = MiningSettings()
    teacher: str | None = None

    @field_validator("options")
    @classmethod
    def _copy(cls, value: dict[str, Any]) -> dict[str, Any]:
        return dict(value)

    @model_validator(mode="after")
    def _model_can_be_built(self) -> Experiment:
        model_settings(self.model, **self.options)
        multiple = find_entry(self.model).size_multiple
        if self.data.size % multiple:
            raise ValueError(
                f"data.size {self.data.size} does not fit model '{self.model}', which takes multiples of {multiple}"
            )
        return self

    @property
    def channels(self) -> int:
        """Input channels of the network: 1 (grey) or 3 (RGB)."""
        return int(model_settings(self.model, **self.options).in_channels)


def vary(experiment: Experiment, changes: Mapping[str, object]) -> Experiment:
    """A copy with dotted keys replaced, validated: `vary(paper, {"training.epochs": 3, "options.head": "none"})`.

    Raises SettingError naming an unknown key (with the nearest match) or the value outside its range.
    """
    raw = experiment.model_dump()
    for key, value in changes.items():
        place, known = raw, tuple(raw)
        *parents, last = key.split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                raise unknown_name("setting", key, tuple(flat_settings(experiment)), _WHERE)
            place = place[parent]
            known = tuple(place)
        if parents not in (["options"], ["objective", "terms"]) and last not in known:
            raise unknown_name("setting", key, tuple(flat_settings(experiment)), _WHERE)
        place[last] = value
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {shortened(repr(e.get('input')))}: {e['msg']}"
            if e["loc"]
            else _message(e["msg"])
            for e in error.errors()
        )
        raise SettingError(f"The experiment is not valid: {details}.") from error


def _message(text: str) -> str:
    """Of a check of the whole value, whose input would be all settings: the message alone."""
    return text.removeprefix("Value error, ")


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

    def walk(prefix: str, value: Mapping[str, Any]) -> dict[str, object]:
        settings: dict[str, object] = {}
        for key, inner in value.items():
            settings |= walk(f"{prefix}{key}.", inner) if isinstance(inner, dict) else {prefix + key: inner}
        return settings

    options = model_settings(experiment.model, **experiment.options).model_dump()
    return walk("", {**experiment.model_dump(), "options": options})
