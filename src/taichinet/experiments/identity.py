"""Whether two runs are the same.

All comparisons of runs are defined here:

- `run_identity`: same result, bit for bit: all inputs of a fold after decoding, stored in result.json and checkpoints.
- `computation_key`: same computation, from the files and before any image is decoded; used to plan a grid.
- `differences`: how a recorded fold differs from a requested one.
- `STUDY_FIELDS`, `study_fields`: folds that may be summarised together.
- `recipe_settings`: same recipe, apart from seeds and what depends on the machine.

The mining cache has an identity of its own (`training.easy_hard.Provenance.identity`), as several runs share an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taichinet.datasets.folds import FoldPlan, Split
from taichinet.datasets.prepared import Prepared
from taichinet.experiments.experiment import Experiment, flat_settings, flatten
from taichinet.experiments.records import FoldRecord, StudyRecord
from taichinet.losses.objective import FOCAL_GAMMA, TVERSKY_BETA
from taichinet.models.backbones import pretrained_digests
from taichinet.storage.digest import digest_bytes, digest_json
from taichinet.training.settings import MOMENTUM

EPOCHS, PATIENCE = "training.epochs", "training.patience"
# (section, key, default): settings that were added after the keys of grids were published, and after runs were made.
NEW_SETTINGS: tuple[tuple[str, str, Any], ...] = (
    ("objective", "terms", {}),
    ("objective", "tversky_beta", TVERSKY_BETA),
    ("objective", "focal_gamma", FOCAL_GAMMA),
    ("training", "warmup_epochs", 0),
    ("training", "optimizer", "adam"),
    ("training", "weight_decay", 0.0),
    ("training", "encoder_rate", 1.0),
    ("training", "average_decay", 0.0),
    ("training", "momentum", MOMENTUM),
    ("training", "nesterov", False),
    ("training", "patience", 0),
    ("data", "mix", "proportional"),
    ("", "decision", {"calibrate": False, "sensitivity": 0.95}),
    ("", "initial_weights", None),
)
# (section, key, default): settings that were added after runs were made. Their default is excluded from the digest.
LATER_SETTINGS: tuple[tuple[str, str, Any], ...] = (
    ("training", "accumulate", 1),
    ("mining", "accumulate", 1),
    ("objective", "taught_weight", 1.0),
    ("", "teacher", None),
    *NEW_SETTINGS,
)
STUDY_FIELDS = ("dataset_digest", "protocol", "folds", "fold_seed")
# Seeds, the number of regions of the data set, and the precision and memory layout on a machine.
NOT_OF_RECIPE = (
    "name",
    "training.seed",
    "mining.seed",
    "options.num_classes",
    "training.precision",
    "training.channels_last",
)
SettingChanges = dict[str, tuple[Any, Any]]


def run_identity(
    experiment: Experiment,
    data: Prepared,
    split: Split,
    plan: FoldPlan,
    bf16: bool,
    teacher: str | None = None,
    initial: str | None = None,
) -> str:
    """Digest of all inputs that determine the result of a fold.

    Args:
        experiment: The settings; the name of the recipe is excluded.
        data: Images and masks at input resolution.
        split: Training, validation and test keys.
        plan: The fold plan.
        bf16: Whether the network is trained in bfloat16.
        teacher: SHA-256 of the weights of the teacher.
        initial: SHA-256 of the weights that the training starts from.

    Returns:
        16 hexadecimal digits.
    """
    settings = _without_defaults(experiment, LATER_SETTINGS)
    masks = digest_bytes(data.lesion.numpy().tobytes())
    content = [settings, plan.digest, masks, plan.protocol, split.train, split.validation, split.test, bf16]
    if pretrained := pretrained_digests(experiment.options):
        content.append(pretrained)
    if teacher is not None:
        content.append(teacher)
    if initial is not None:
        content.append({"initial": initial})
    return digest_json(content)[:16]


def computation_key(experiment: Experiment, content_digest: str, split: Split, plan: FoldPlan) -> str:
    """Digest of the inputs of a fold by the content of the files (`Manifest.content_digest`), 16 hexadecimal digits.

    The name of the recipe is excluded.
    """
    content = [
        _without_defaults(experiment, NEW_SETTINGS),
        [content_digest, split.train, split.validation, split.test, plan.protocol],
        pretrained_digests(experiment.options),
    ]
    return digest_json(content)[:16]


def _without_defaults(experiment: Experiment, later: tuple[tuple[str, str, Any], ...]) -> dict[str, Any]:
    """All settings but the name, those of `later` that have their default, and those of another augmentation."""
    settings = experiment.model_dump(mode="json", exclude={"name"})
    settings["data"]["augmentation"] = experiment.data.augmentation.settings_in_use()
    for parent, key, default in later:
        section = settings[parent] if parent else settings
        if section[key] == default:
            del section[key]
    return settings


@dataclass(frozen=True)
class Differences:
    """Settings that differ, by dotted key with the recorded and the requested value, and other fields that differ."""

    settings: SettingChanges
    fields: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.settings or self.fields)


def differences(record: FoldRecord | StudyRecord, experiment: Experiment, requested: Mapping[str, Any]) -> Differences:
    """How a recorded fold or study differs from the requested settings, and from `requested` fields of the record."""
    fields = tuple(name for name, value in requested.items() if getattr(record, name) != value)
    return Differences(setting_changes(record.experiment, experiment), fields)


def study_fields(plan: FoldPlan) -> dict[str, Any]:
    """Values of `STUDY_FIELDS` for the folds of `plan`."""
    return {"dataset_digest": plan.digest, "protocol": plan.protocol, "folds": plan.count, "fold_seed": plan.seed}


def recipe_settings(experiment: Experiment) -> dict[str, object]:
    """Settings by dotted key that must be equal for two runs of the same recipe."""
    return {key: value for key, value in flat_settings(experiment).items() if key not in NOT_OF_RECIPE}


def setting_changes(earlier: Experiment, now: Experiment) -> SettingChanges:
    """Settings that differ, by dotted key: (value in `earlier`, value in `now`). An option that is not set is None."""
    old, new = (flatten(experiment.model_dump(mode="json")) for experiment in (earlier, now))
    keys = sorted({*old, *new})
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def describe_changes(changes: SettingChanges) -> str:
    """For messages: "training.seed was 0 and is 1 now, data.size was 224 and is 128 now"."""
    return ", ".join(f"{key} was {old} and is {new} now" for key, (old, new) in changes.items())
