"""Experiments: variation by dotted keys, rejection of wrong keys and values, and validity of all recipes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from taichinet.errors import SettingError
from taichinet.experiments.experiment import Experiment, parse_assignments, vary
from taichinet.experiments.recipes.catalogue import SCALES, get_recipe, list_recipes
from taichinet.models.catalogue import model_settings

PAPER = get_recipe("busi-taichinet")


def float_keys(value: dict[str, Any], before: str = "") -> list[str]:
    """The dotted keys of every setting that is a float."""
    keys: list[str] = []
    for key, inner in value.items():
        keys += float_keys(inner, f"{before}{key}.") if isinstance(inner, dict) else []
        keys += [f"{before}{key}"] if isinstance(inner, float) else []
    return keys


# ----------------------------------------------------------------------------------------------- variation


def test_vary_changes_only_given_keys() -> None:
    changes = {
        "training.epochs": 3,
        "data.augmentation.gamma": [0.9, 1.1],
        "options.head": "none",
        "name": "mine",
    }
    varied = vary(PAPER, changes)
    expected = PAPER.model_dump()
    expected["training"]["epochs"] = 3
    expected["data"]["augmentation"]["gamma"] = (0.9, 1.1)
    expected["options"]["head"] = "none"
    expected["name"] = "mine"
    assert varied.model_dump() == expected


def test_vary_does_not_modify_original() -> None:
    before = PAPER.model_dump()
    vary(PAPER, {"options.width": 4, "training.epochs": 1})
    assert PAPER.model_dump() == before
    assert vary(PAPER, {}) == PAPER


def test_experiment_is_immutable() -> None:
    with pytest.raises(ValidationError):
        PAPER.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        PAPER.training.epochs = 1  # type: ignore[misc]


def test_given_options_are_copied() -> None:
    options = {"width": 4}
    experiment = Experiment(name="mine", options=options)
    options["width"] = 3
    assert experiment.options == {"width": 4}


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan"])
def test_non_finite_setting_is_rejected(text: str) -> None:
    keys = float_keys(PAPER.model_dump())
    assert {"objective.positive_weight", "training.easy_share", "data.augmentation.max_degrees"} <= set(keys)
    for key in (*keys, "options.background_prior", "objective.auxiliary.levels"):
        with pytest.raises(SettingError, match=r"finite number|greater than|less than"):
            vary(PAPER, parse_assignments([f"{key}={text}"]))
    with pytest.raises(SettingError, match="finite number"):
        vary(PAPER, parse_assignments([f"data.augmentation.gamma=[0.5, {text}]"]))


def test_model_and_options_change_together_if_compatible() -> None:
    unet = vary(PAPER, {"model": "unet", "options": {"width": 8}})
    assert (unet.model, unet.options) == ("unet", {"width": 8})
    with pytest.raises(SettingError, match="option of model 'unet' 'head'"):
        vary(PAPER, {"model": "unet", "options": {"head": "c"}})


def test_experiment_round_trips_through_json_dump() -> None:
    for name in list_recipes():
        experiment = get_recipe(name)
        assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.epoch", "training.epochs"),
        ("trainig.epochs", "training.epochs"),
        ("data.augmentation.gama", "data.augmentation.gamma"),
        ("objective.complementry", "objective.complementary"),
        ("mining.wdth", "mining.width"),
        ("epochs", None),
        ("", None),
        ("training.epochs.more", "training.epochs"),
    ],
)
def test_unknown_key_suggests_nearest(key: str, nearest: str | None) -> None:
    with pytest.raises(SettingError, match=f"Unknown setting '{key}'") as caught:
        vary(PAPER, {key: 1})
    assert "Known: " in str(caught.value)
    assert "experiment.yaml" in str(caught.value)  # the file that lists all settings, instead of fifty names
    if nearest is not None:
        assert f"Did you mean '{nearest}'?" in str(caught.value)


def test_unknown_network_option_suggests_nearest() -> None:
    with pytest.raises(SettingError, match=r"'head_spce'\. Did you mean 'head_space'\?"):
        vary(PAPER, {"options.head_spce": "logit"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.epochs", 0, "training.epochs = 0"),
        ("training.epochs", "many", "training.epochs = 'many'"),
        ("training.learning_rate", -1, "training.learning_rate = -1"),
        ("data.size", 100, "data.size = 100"),
        ("data.folds", 1, "data.folds = 1"),
        ("data.validation_share", 1, "data.validation_share = 1"),
        ("data.augmentation.probability", 2, "data.augmentation.probability = 2"),
        ("data.augmentation.stretch", [0, 1], "data.augmentation.stretch"),
        ("training", 3, "training = 3"),
        ("options", 3, "options = 3"),
        ("options.width", 3, "width = 3"),
        ("options.head", "d", "head = 'd'"),
        ("model", "unet+", "Did you mean 'unet"),
    ],
)
def test_invalid_value_is_reported_with_its_key(key: str, value: object, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        vary(PAPER, {key: value})
    assert message in str(caught.value)
    assert caught.value.exit_code == 4


# ------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.epochs=3", {"training.epochs": 3}),
        ("training.easy_share=0.5", {"training.easy_share": 0.5}),
        ("data.include_normal=true", {"data.include_normal": True}),
        ("options.head=none", {"options.head": "none"}),
        ("data.augmentation.gamma=[0.8, 1.2]", {"data.augmentation.gamma": [0.8, 1.2]}),
        ("name=a=b", {"name": "a=b"}),
        (" name = mine ", {"name": "mine"}),
    ],
)
def test_assignment_is_parsed_as_key_and_yaml_value(text: str, expected: dict[str, Any]) -> None:
    assert parse_assignments([text]) == expected


def test_assignments_are_merged_and_last_value_of_a_key_wins() -> None:
    parsed = parse_assignments(["training.epochs=3", "name=mine", "training.epochs=5"])
    assert parsed == {"training.epochs": 5, "name": "mine"}
    assert parse_assignments([]) == {}


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
def test_learning_rate_with_exponent_is_parsed(text: str) -> None:
    """YAML 1.1 reads 1e-3 as text; the type of the setting converts it to a number."""
    varied = vary(PAPER, parse_assignments([f"training.learning_rate={text}"]))
    assert varied.training.learning_rate == pytest.approx(1e-3)


@pytest.mark.parametrize("text", ["training.epochs", "", "=3", "training.epochs 3"])
def test_malformed_assignment_is_rejected_with_an_example(text: str) -> None:
    with pytest.raises(SettingError, match=r"Invalid setting .*\. Write key=value, e\.g\. --set training\.epochs=20"):
        parse_assignments([text])


@pytest.mark.parametrize("text", ["name=[1, 2", "name={", "name=a: b: c", "name=@x"])
def test_invalid_yaml_value_is_rejected(text: str) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        parse_assignments([text])


def test_empty_value_is_rejected_by_settings() -> None:
    with pytest.raises(SettingError, match=r"training\.epochs = None"):
        vary(PAPER, parse_assignments(["training.epochs="]))


# -------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_has_its_name_and_valid_network_options(name: str) -> None:
    """Training of each network is tested in contracts/test_every_network.py."""
    experiment = get_recipe(name)
    assert experiment.name == name
    assert experiment.channels in (1, 3)
    assert model_settings(experiment.model, **experiment.options).num_classes == 1


def test_paper_recipe_has_printed_settings() -> None:
    assert (PAPER.data.size, PAPER.data.folds) == (224, 5)
    training = PAPER.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (40, 16, 1e-4)
    assert (training.schedule, training.strategy) == ("constant", "easy-to-hard")
    objective = PAPER.objective
    weights = {objective.positive_weight, objective.negative_weight}
    assert weights | {objective.complementary_weight, objective.region_weight} == {1.0}
    assert objective.complementary
    assert PAPER.data.augmentation.gamma == (0.5, 1.5)
    assert PAPER.data.augmentation.stretch == (0.6, 1.3)
    assert PAPER.data.augmentation.max_degrees == 10
    assert PAPER.model == "taichinet"


@pytest.mark.parametrize("family", SCALES)
def test_unet_recipe_differs_from_taichinet_only_in_model_and_strategy(family: str) -> None:
    unet, taichinet = get_recipe(f"{family}-unet"), get_recipe(f"{family}-taichinet")
    assert unet.training.strategy == "plain"
    same = {"name", "model", "options", "training"}
    assert unet.model_dump(exclude=same) == taichinet.model_dump(exclude=same)
    assert unet.training.model_dump(exclude={"strategy"}) == taichinet.training.model_dump(exclude={"strategy"})
    assert unet.options == {k: v for k, v in taichinet.options.items() if k in ("width", "in_channels")}


def test_unknown_recipe_suggests_nearest() -> None:
    with pytest.raises(SettingError, match=r"Unknown recipe 'busi-taichi'\. Did you mean 'busi-taichinet'\?"):
        get_recipe("busi-taichi")


def test_unknown_recipe_message_describes_naming_scheme_instead_of_full_list() -> None:
    with pytest.raises(
        SettingError, match=r"Did you mean 'cpu-rf-net'\?.* Known: SCALE-ROW.*`taichinet recipes`"
    ) as caught:
        get_recipe("cpu-rfnet")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("recipe", "size", "takes", "nearest"),
    [
        ("busi-ce-net", 208, "model 'ce-net', which takes multiples of 32", "data.size=192 or data.size=224"),
        ("best-lite", 112, "model 'taichinet-lite', which takes multiples of 32", "data.size=96 or data.size=128"),
        ("best-lite", 100, "model 'taichinet-lite', which takes multiples of 32", "data.size=96 or data.size=128"),
        ("best-lite", 16, "model 'taichinet-lite', which takes multiples of 32", "data.size=32"),
        ("cpu-unet", 100, "model 'unet', which takes multiples of 16", "data.size=96 or data.size=112"),
    ],
)
def test_size_unsupported_by_network_is_refused_with_the_nearest_sizes(
    recipe: str, size: int, takes: str, nearest: str
) -> None:
    with pytest.raises(SettingError) as caught:
        vary(get_recipe(recipe), {"data.size": size})
    assert str(caught.value).endswith(f"data.size = {size} does not fit {takes}: set {nearest}.")


def test_single_option_of_second_path_can_be_set() -> None:
    changed = vary(get_recipe("cpu-unet-second-path"), {"options.second_path.head": "a"})
    assert changed.options["second_path"] == {"head": "a"}
