"""Comparison of runs by settings, study fields and digests; digests must not change for existing runs."""

from __future__ import annotations

import torch
from fakes.runs import fold_record, recipe
from fakes.scores import lesion_row

from taichinet.datasets.folds import FoldPlan, Split
from taichinet.datasets.prepared import Prepared
from taichinet.experiments.experiment import vary
from taichinet.experiments.identity import (
    computation_key,
    describe_changes,
    differences,
    recipe_settings,
    run_identity,
    setting_changes,
    study_fields,
)

PLAN = FoldPlan("busi", "digest of busi", "grouped", 0, 5, (), {"a": 0, "b": 1, "c": 1})
SPLIT = Split(("a",), ("b",), ("c",))


def test_digests_of_existing_runs_do_not_change() -> None:
    image = torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    data = Prepared(("a", "b", "c"), ("benign",) * 3, image, image)
    experiment = recipe("short-unet")
    assert run_identity(experiment, data, SPLIT, PLAN, bf16=False) == "18c29b43060cb042"
    assert run_identity(experiment, data, SPLIT, PLAN, bf16=True, teacher="00") == "e1a2ce31f81d212e"
    assert computation_key(experiment, "content", SPLIT, PLAN) == "5c580b780601eae7"


def test_settings_of_later_versions_change_the_digest_unless_they_have_their_default() -> None:
    experiment = recipe("short-unet")
    changed: list[dict[str, object]] = [
        {"training.patience": 3},
        {"training.optimizer": "sgd"},
        {"objective.terms.focal": 1.0},
    ]
    keys = {computation_key(vary(experiment, changes), "content", SPLIT, PLAN) for changes in changed}
    assert len(keys | {"5c580b780601eae7"}) == 4


def test_all_changed_settings_and_fields_are_listed() -> None:
    experiment = recipe("short-unet")
    record = fold_record(experiment, [lesion_row("a", 0.5)])
    assert not differences(record, experiment, study_fields(PLAN))
    other = vary(experiment, {"training.epochs": 9, "options.width": 8})
    different = differences(record, other, study_fields(PLAN) | {"protocol": "paper", "fold": 1})
    assert different.settings == {"options.width": (16, 8), "training.epochs": (4, 9)}
    assert different.fields == ("protocol", "fold")
    assert (
        describe_changes(different.settings) == "options.width was 16 and is 8 now, training.epochs was 4 and is 9 now"
    )


def test_seeds_and_precision_do_not_change_the_recipe() -> None:
    experiment = recipe("short-unet")
    same = vary(experiment, {"name": "x", "training.seed": 3, "mining.seed": 3, "training.precision": "float32"})
    assert recipe_settings(same) == recipe_settings(experiment)
    assert recipe_settings(vary(experiment, {"training.epochs": 9})) != recipe_settings(experiment)
    assert set(setting_changes(experiment, same)) == {"name", "training.seed", "mining.seed", "training.precision"}
