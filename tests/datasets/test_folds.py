"""Folds: stratified, without split groups, written once, and rejected if they do not match the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.busi import make_fake_busi
from helpers import file_manifest
from sklearn.model_selection import StratifiedKFold

from taichinet.datasets.folds import (
    FoldPlan,
    Protocol,
    load_or_make_folds,
    make_folds,
    read_folds,
    verify_folds,
    write_folds,
)
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError

LABELS = {f"{label} ({n})": label for label, size in (("benign", 40), ("malignant", 20)) for n in range(1, size + 1)}
# Pairs, a triple, a larger family, and two pairs with contradictory labels.
GROUPS = (
    ("benign (1)", "benign (2)"),
    ("benign (3)", "benign (4)", "benign (5)"),
    ("malignant (1)", "malignant (2)"),
    tuple(f"benign ({n})" for n in range(10, 17)),
    ("benign (20)", "malignant (7)"),
    ("malignant (9)", "benign (30)", "malignant (11)"),
)
PROTOCOLS: tuple[Protocol, ...] = ("grouped", "paper")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return file_manifest(tmp_path / "data", LABELS)


@pytest.fixture
def plan(manifest: Manifest) -> FoldPlan:
    return make_folds(manifest, GROUPS)


def split_groups(where: dict[str, Any]) -> list[tuple[str, ...]]:
    """The groups whose members are in more than one part."""
    return [group for group in GROUPS if len({where[key] for key in group if key in where}) > 1]


# ------------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_image_is_tested_in_exactly_one_fold(manifest: Manifest, protocol: Protocol) -> None:
    plan = make_folds(manifest, GROUPS, protocol)
    tested = [key for fold in range(5) for key in plan.split(fold, LABELS, 0.125).test]
    assert sorted(tested) == sorted(LABELS)
    assert set(plan.fold_of.values()) == set(range(5))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fold", range(5))
def test_parts_of_a_split_are_disjoint_and_complete(manifest: Manifest, protocol: Protocol, fold: int) -> None:
    split = make_folds(manifest, GROUPS, protocol).split(fold, LABELS, 0.125)
    parts = Counter([*split.train, *split.validation, *split.test])
    assert parts == Counter(LABELS.keys())
    assert len(split.train) > len(split.test) > len(split.validation) > 0


def test_paper_folds_have_equal_class_shares(manifest: Manifest) -> None:
    plan = make_folds(manifest, GROUPS, "paper")
    shares = Counter((plan.fold_of[key], label) for key, label in LABELS.items())
    assert {shares[fold, "benign"] for fold in range(5)} == {8}
    assert {shares[fold, "malignant"] for fold in range(5)} == {4}


@pytest.mark.parametrize("seed", range(5))
def test_grouped_folds_have_nearly_equal_class_shares(manifest: Manifest, seed: int) -> None:
    plan = make_folds(manifest, GROUPS, "grouped", seed)
    shares = Counter((plan.fold_of[key], label) for key, label in LABELS.items())
    assert all(6 <= shares[fold, "benign"] <= 10 for fold in range(5))
    assert all(2 <= shares[fold, "malignant"] <= 6 for fold in range(5))


@pytest.mark.parametrize("seed", range(5))
def test_grouped_folds_split_no_group_including_inner_validation(manifest: Manifest, seed: int) -> None:
    plan = make_folds(manifest, GROUPS, "grouped", seed)
    assert split_groups(plan.fold_of) == []
    for fold in range(5):
        split = plan.split(fold, LABELS, 0.125)
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        assert split_groups({key: part for part, keys in parts.items() for key in keys}) == []


def test_paper_folds_split_groups_as_in_the_paper(manifest: Manifest) -> None:
    plan = make_folds(manifest, GROUPS, "paper")
    assert split_groups(plan.fold_of)
    assert plan.groups == GROUPS  # groups are recorded anyway


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_identical_seed_gives_identical_folds_and_other_seed_others(manifest: Manifest, protocol: Protocol) -> None:
    first, repeated = (make_folds(manifest, GROUPS, protocol, seed=3) for _ in range(2))
    other = make_folds(manifest, GROUPS, protocol, seed=4)
    assert first == repeated
    assert first.fold_of != other.fold_of
    assert first.split(2, LABELS, 0.125) == repeated.split(2, LABELS, 0.125)


def test_inner_split_differs_between_folds_and_has_about_its_share(plan: FoldPlan) -> None:
    splits = [plan.split(fold, LABELS, 0.125) for fold in range(5)]
    assert len({split.validation for split in splits}) == 5
    for split in splits:
        rest = len(split.train) + len(split.validation)
        assert 0.05 < len(split.validation) / rest < 0.25  # a group of seven cannot be divided
        assert {LABELS[key] for key in split.validation} == {"benign", "malignant"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_inner_split_has_its_own_seed_in_each_fold(manifest: Manifest, protocol: Protocol) -> None:
    plan = make_folds(manifest, GROUPS, protocol, seed=3)
    for fold in range(5):
        split = plan.split(fold, LABELS, 0.125)
        rest = manifest.subset({*split.train, *split.validation})
        drawn = make_folds(rest, GROUPS, protocol, seed=3 + 1000 * (fold + 1), count=8).fold_of
        assert set(split.validation) == {key for key, part in drawn.items() if part == 0}


def test_validation_share_of_zero_leaves_all_remaining_images_for_training(plan: FoldPlan) -> None:
    split = plan.split(1, LABELS, 0.0)
    assert split.validation == ()
    assert set(split.train) == set(LABELS) - set(split.test)


def test_group_keys_missing_from_the_data_are_ignored(manifest: Manifest) -> None:
    foreign = (("benign (1)", "normal (34)"), ("normal (1)", "normal (2)"), ("benign (2)", "x", "benign (3)"))
    plan = make_folds(manifest, foreign)
    assert plan.groups == (("benign (2)", "benign (3)"),)
    verify_folds(plan, manifest)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_class_with_fewer_images_than_folds_is_reported(tmp_path: Path, protocol: Protocol) -> None:
    labels = {**{f"b{n}": "benign" for n in range(9)}, **{f"m{n}": "malignant" for n in range(4)}}
    with pytest.raises(FoldError, match=r"Class 'malignant' has 4 images, too few for 5 parts"):
        make_folds(file_manifest(tmp_path, labels), (), protocol)


def test_fold_file_is_not_written_if_the_inner_split_is_impossible(tmp_path: Path) -> None:
    manifest = file_manifest(tmp_path, {f"b{n}": "benign" for n in range(9)})
    path = tmp_path / "folds.json"
    with pytest.raises(FoldError, match=r"of fold \d: Class 'benign' has 7 images, too few for 8 parts"):
        load_or_make_folds(path, manifest, (), "grouped", 0, 5, validation_share=0.125)
    assert not path.exists()
    assert load_or_make_folds(path, manifest, (), "grouped", 0, 3, validation_share=0.25).count == 3


def test_fewer_groups_than_folds_are_rejected(tmp_path: Path) -> None:
    labels = {**{f"b{n}": "benign" for n in range(9)}, **{f"m{n}": "malignant" for n in range(6)}}
    families = (tuple(f"b{n}" for n in range(8)), tuple(f"m{n}" for n in range(6)))
    manifest = file_manifest(tmp_path, labels)
    with pytest.raises(FoldError, match=r"Only 3 groups for 5 folds"):
        make_folds(manifest, families)
    assert set(make_folds(manifest, families, "paper").fold_of.values()) == set(range(5))


@pytest.mark.parametrize("fold", [-1, 5, 99])
def test_unknown_fold_is_rejected_with_the_known_folds(plan: FoldPlan, fold: int) -> None:
    with pytest.raises(FoldError, match=rf"Fold {fold} does not exist.*folds 0 to 4"):
        plan.split(fold, LABELS, 0.125)


# ------------------------------------------------------------------------------------------ writing, reading


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_written_plan_is_read_back_unchanged(tmp_path: Path, manifest: Manifest, protocol: Protocol) -> None:
    plan = make_folds(manifest, GROUPS, protocol, seed=7)
    path = tmp_path / "deep" / "folds.json"
    write_folds(plan, path)
    assert read_folds(path) == plan
    verify_folds(read_folds(path), manifest)
    assert [file.name for file in path.parent.iterdir()] == ["folds.json"]
    assert '"benign (1)": ' in path.read_text(encoding="utf-8")


def test_fold_file_is_written_once_and_then_read(tmp_path: Path, manifest: Manifest) -> None:
    path = tmp_path / "folds.json"
    made = load_or_make_folds(path, manifest, GROUPS, "grouped", 0, 5)
    written = path.read_bytes()
    assert load_or_make_folds(path, manifest, GROUPS, "grouped", 0, 5) == made
    assert path.read_bytes() == written


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"groups": []}', '{"groups": 3}', "null"])
def test_truncated_file_is_rejected_with_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "folds.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FoldError, match=r"cannot be read .*If it is one, delete it: it is drawn again") as caught:
        read_folds(path)
    assert caught.value.exit_code == 6


def edited(plan: FoldPlan, path: Path, edit: Callable[[dict[str, Any]], object]) -> FoldPlan:
    """The plan read from its file after `edit` was applied to it."""
    write_folds(plan, path)
    raw = json.loads(path.read_text(encoding="utf-8"))
    edit(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")
    return read_folds(path)


def test_edited_file_that_splits_a_group_is_rejected(tmp_path: Path, plan: FoldPlan, manifest: Manifest) -> None:
    def move(raw: dict[str, Any]) -> None:
        raw["fold_of"]["malignant (2)"] = (raw["fold_of"]["malignant (1)"] + 1) % 5

    with pytest.raises(FoldError, match=r"splits the near-duplicates malignant \(1\), malignant \(2\)"):
        verify_folds(edited(plan, tmp_path / "folds.json", move), manifest)


def test_moving_an_image_without_group_by_hand_is_allowed(tmp_path: Path, plan: FoldPlan, manifest: Manifest) -> None:
    def move(raw: dict[str, Any]) -> None:
        raw["fold_of"]["benign (40)"] = (raw["fold_of"]["benign (40)"] + 1) % 5

    verify_folds(edited(plan, tmp_path / "folds.json", move), manifest)


@pytest.mark.parametrize("number", [5, -1, 1.5, "0", None])
def test_fold_number_outside_the_plan_is_rejected(
    tmp_path: Path, plan: FoldPlan, manifest: Manifest, number: object
) -> None:
    """An image in fold 7 of 5 would be trained on in every fold and never be tested."""
    with pytest.raises(FoldError):
        verify_folds(
            edited(plan, tmp_path / "folds.json", lambda raw: raw["fold_of"].update({"benign (40)": number})),
            manifest,
        )


def test_group_of_unknown_images_is_rejected(tmp_path: Path, plan: FoldPlan, manifest: Manifest) -> None:
    with pytest.raises(FoldError):
        verify_folds(
            edited(plan, tmp_path / "folds.json", lambda raw: raw["groups"].append(["benign (1)", "nobody"])),
            manifest,
        )


def test_other_keys_are_rejected_and_counted_on_both_sides(tmp_path: Path, plan: FoldPlan, manifest: Manifest) -> None:
    with pytest.raises(FoldError, match=r"not in it \(none\), 2 of it are not in the data set \(benign \(1\), "):
        verify_folds(plan, manifest.subset(set(LABELS) - {"benign (1)", "malignant (3)"}))
    more = file_manifest(tmp_path / "more", {**LABELS, "benign (99)": "benign"})
    with pytest.raises(FoldError, match=r"1 of the data set are not in it \(benign \(99\)\), 0 of it"):
        verify_folds(plan, more)


def test_other_pixels_under_the_same_names_are_rejected(tmp_path: Path, plan: FoldPlan, manifest: Manifest) -> None:
    verify_folds(plan, file_manifest(tmp_path / "copy", LABELS))  # identical bytes in another folder are the same data
    other = file_manifest(tmp_path / "other", LABELS, salt="other pixels ")
    with pytest.raises(FoldError, match="same names but other pixels"):
        verify_folds(plan, other)
    path = tmp_path / "folds.json"
    write_folds(plan, path)
    with pytest.raises(FoldError, match="same names but other pixels"):
        load_or_make_folds(path, other, GROUPS, "grouped", 0, 5)


@pytest.mark.parametrize("requested", [("paper", 0, 5), ("grouped", 1, 5), ("grouped", 0, 4)], ids=str)
def test_fold_file_of_another_protocol_seed_or_count_is_rejected(
    tmp_path: Path, plan: FoldPlan, manifest: Manifest, requested: tuple[Protocol, int, int]
) -> None:
    """A run must be split by the protocol that it records."""
    path = tmp_path / "folds.json"
    write_folds(plan, path)
    with pytest.raises(FoldError):
        load_or_make_folds(path, manifest, GROUPS, *requested)


def test_folds_are_made_from_a_data_set_reader(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_busi(tmp_path / "data", benign=6, malignant=4, normal=4))
    plan = make_folds(manifest, (("benign (1)", "benign (2)"),), count=2)
    tested = [key for fold in (0, 1) for key in plan.split(fold, manifest.labels, 0.5).test]
    assert sorted(tested) == sorted(manifest.keys)
    verify_folds(plan, DATASET.read(make_fake_busi(tmp_path / "copy", benign=6, malignant=4, normal=4)))
    with pytest.raises(FoldError, match="other pixels"):
        verify_folds(plan, DATASET.read(make_fake_busi(tmp_path / "other", benign=6, malignant=4, normal=4, seed=1)))


# ----------------------------------------------------------------------------------- patients, official splits


def with_samples(manifest: Manifest, **of: Callable[[int, str], Any]) -> Manifest:
    """`manifest` with fields of its samples set from their index and key."""
    samples = (
        replace(sample, **{name: value(i, sample.key) for name, value in of.items()})
        for i, sample in enumerate(manifest)
    )
    return replace(manifest, samples=tuple(samples))


def test_images_of_one_patient_and_near_duplicates_are_never_split(manifest: Manifest) -> None:
    patients = with_samples(manifest, patient=lambda i, key: f"p{i // 3}")
    plan = make_folds(patients, GROUPS)
    where: dict[str, set[int]] = {}
    for sample in patients:
        where.setdefault(str(sample.patient), set()).add(plan.fold_of[sample.key])
    assert all(len(folds) == 1 for folds in where.values())
    assert not split_groups(plan.fold_of)


def test_official_test_part_is_the_only_fold(manifest: Manifest, tmp_path: Path) -> None:
    parts = with_samples(manifest, part=lambda i, key: "test" if i % 4 == 0 else "train")
    plan = make_folds(parts, GROUPS, "official")
    assert plan.count == 1
    split = plan.split(0, parts.labels, 0.125)
    assert set(split.test) == {sample.key for sample in parts if sample.part == "test"}
    assert sorted([*split.train, *split.validation, *split.test]) == sorted(parts.keys)
    assert split.validation
    assert not split_groups({key: key in split.validation for key in (*split.train, *split.validation)})
    path = tmp_path / "folds.json"
    write_folds(plan, path)
    assert load_or_make_folds(path, parts, (), "official", 0, 5) == plan


def test_official_validation_part_is_the_validation_split(manifest: Manifest) -> None:
    names = ("train", "validation", "test")
    parts = with_samples(manifest, part=lambda i, key: names[i % 3])
    split = make_folds(parts, (), "official").split(0, parts.labels, 0.125)
    for name in names:
        assert set(getattr(split, name)) == {sample.key for sample in parts if sample.part == name}


def test_official_folds_are_used_with_their_numbers(manifest: Manifest) -> None:
    numbered = with_samples(manifest, fold=lambda i, key: 1 + i % 4)
    plan = make_folds(numbered, GROUPS, "official")
    assert plan.count == 4
    assert all(plan.fold_of[sample.key] + 1 == sample.fold for sample in numbered)
    verify_folds(plan, numbered)


def test_data_set_without_official_split_is_rejected(manifest: Manifest) -> None:
    with pytest.raises(FoldError, match=r"no official split.*grouped or paper"):
        make_folds(manifest, (), "official")


# ------------------------------------------------------------------------------------------------ damaged plans

WHOLE = {
    "dataset": "folder",
    "digest": "0",
    "protocol": "grouped",
    "seed": 0,
    "count": 2,
    "groups": [["a", "b"]],
    "fold_of": {"a": 0, "b": 0, "c": 1},
    "validation": [],
}
WRONG_FOLD_OF: tuple[object, ...] = ({"a": "0", "b": None}, {"a": 0.5}, {}, [], {"a": 0, "b": 2}, {"a": True})
WRONG_GROUPS: tuple[object, ...] = ([1, 2], {}, "ab", [["a"], ["a"]], [["a", "a"]], [[None]], None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "change",
    [
        *({"count": value} for value in (10**18, 2.5, "2", None, True, 0, -1, 1, 3)),
        *({"seed": value} for value in (float("nan"), -1, 10**30, "0", True)),
        *({"fold_of": value} for value in WRONG_FOLD_OF),
        *({"groups": value} for value in WRONG_GROUPS),
        *({"validation": value} for value in (["a"], ["a", "a"], "a", [1], None)),
        *({"protocol": value} for value in ("group", None, 1)),
        *({"dataset": value} for value in (None, 1, ["x"])),
        *({"digest": value} for value in (None, 1)),
        {"protocol": "official", "validation": ["a"]},
        {"protocol": "official", "validation": ["nobody"]},
        {"protocol": "official", "fold_of": {"a": -2, "b": 0, "c": 1}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_damaged_plan_is_rejected(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "folds.json"
    path.write_text(json.dumps(WHOLE), encoding="utf-8")
    assert read_folds(path).count == 2
    path.write_text(json.dumps(WHOLE | change), encoding="utf-8")
    with pytest.raises(FoldError, match=r"folds\.json.*elete it: it is drawn again"):
        read_folds(path)


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "validation"])
def test_plan_with_missing_or_repeated_key_is_rejected(tmp_path: Path, name: str) -> None:
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({key: value for key, value in WHOLE.items() if key != name}), encoding="utf-8")
    with pytest.raises(FoldError, match=name):
        read_folds(path)
    twice = json.dumps(WHOLE)[:-1] + f', "{name}": {json.dumps(WHOLE[name])}}}'
    path.write_text(twice, encoding="utf-8")
    with pytest.raises(FoldError, match=f"the key '{name}' occurs twice"):
        read_folds(path)


def test_every_truncation_of_a_plan_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    text = json.dumps(WHOLE)
    for length in range(len(text)):
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(FoldError):
            read_folds(path)


# ---------------------------------------------------------------------------------------------- mutation tests


def test_paper_folds_equal_those_of_scikit_learn(manifest: Manifest) -> None:
    keys = list(LABELS)
    drawn = StratifiedKFold(5, shuffle=True, random_state=7).split(keys, [LABELS[key] for key in keys])
    expected = {keys[row]: fold for fold, (_, held_out) in enumerate(drawn) for row in held_out}
    assert make_folds(manifest, GROUPS, "paper", seed=7).fold_of == expected


def test_inner_validation_share_is_rounded_to_the_nearest_number_of_parts(manifest: Manifest) -> None:
    plan = make_folds(manifest, (), "paper")
    for fold in range(5):
        split = plan.split(fold, LABELS, 0.27)  # 1 / 0.27 = 3.7: four parts of 32 benign and 16 malignant images
        assert (len(split.train), len(split.validation)) == (36, 12)


def test_two_images_of_one_patient_are_kept_together(manifest: Manifest) -> None:
    patients = with_samples(manifest, patient=lambda i, key: f"p{i // 2}")
    assert patients.patients == tuple((first, second) for first, second in zip(*[iter(LABELS)] * 2, strict=True))
    assert {frozenset(group) for group in make_folds(patients, ()).groups} == {*map(frozenset, patients.patients)}
    for seed in range(3):
        fold_of = make_folds(patients, (), seed=seed).fold_of
        assert all(fold_of[first] == fold_of[second] for first, second in patients.patients)
