"""`taichinet recipes`: the stored descriptions are those of the settings classes, and can be given to `--set`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.errors import SettingError
from taichinet.experiments.experiment import Experiment, flat_settings, parse_assignments, vary
from taichinet.experiments.recipes.catalogue import get_recipe, list_recipes
from taichinet.experiments.recipes.description import describe_recipes
from taichinet.experiments.recipes.table import TABLE, read_recipes
from taichinet.models.catalogue import find_entry, list_models
from taichinet.settings import Settings

UPDATE = "Run `python -m taichinet.experiments.recipes.description`."


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["recipes", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_stored_descriptions_are_current() -> None:
    described = describe_recipes()
    assert read_recipes() == described, UPDATE
    assert TABLE.read_text(encoding="utf-8") == described.to_text(), UPDATE
    assert tuple(described.recipes) == list_recipes()
    assert all(row.purpose and len(row.purpose) <= 120 and row.time for row in described.recipes.values())


def all_settings() -> list[type[Settings]]:
    """All classes of settings of recipes and networks."""
    found: list[type[Settings]] = []

    def visit(kind: type[Settings]) -> None:
        for sub in kind.__subclasses__():
            if sub.__module__.startswith("taichinet."):
                found.append(sub)
            visit(sub)

    visit(Settings)
    return found


def test_every_setting_has_a_description() -> None:
    assert Experiment in all_settings()
    assert all(find_entry(name).settings in all_settings() for name in list_models())
    without = [
        f"{kind.__name__}.{name}"
        for kind in all_settings()
        for name, field in kind.model_fields.items()
        if not field.description
    ]
    assert without == []


@pytest.mark.parametrize("name", ["busi-taichinet", "cpu-unet++-own-loss", "best-lite", "demo-unet-timm-second-path"])
def test_printed_settings_give_the_recipe(name: str) -> None:
    recipe = get_recipe(name)
    content = json.loads(run(name, "--json"))
    assert content["settings"]["training.epochs"]["value"] == recipe.training.epochs
    lines = run(name).splitlines()[4:]
    assert len(lines) == len(content["settings"])
    # Values end at the first of two spaces, unless they are wider than the column.
    assignments = [line.split("  ")[0] for line in lines]
    other = vary(get_recipe("short-taichinet"), {"model": recipe.model, "options": {}, "data.size": 224})
    assert flat_settings(vary(other, parse_assignments(assignments))) == flat_settings(recipe)
    allowed = {key: row["allowed"] for key, row in content["settings"].items()}
    assert allowed["training.optimizer"] == "adam | adamw | sgd"
    assert allowed["training.seed"] == "whole number, at least 0, at most 4294967295"
    assert allowed["data.augmentation.ultrasound.zoom.range"] == "within [0.2, 5]"


def test_all_recipes_are_listed_and_lines_are_not_cut() -> None:
    lines = run().splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(list_recipes())
    assert max(map(len, lines)) > 120
    assert {line.split()[0] for line in run("--scale", "cpu").splitlines()[1:]} == {
        name for name in list_recipes() if name.startswith("cpu-")
    }
    row = next(row for row in json.loads(run("--json")) if row["name"] == "best-lite")
    assert (row["network"], row["size"], row["images"]) == ("taichinet-lite", 128, "with normal images")


def test_listing_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['taichinet', 'recipes', 'cpu-unet']\n"
        "from taichinet.cli.app import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "training.epochs=12 " in done.stdout


@pytest.mark.parametrize("name", ["cpu-unett", "x" * 500, "unet"])
def test_message_for_an_unknown_recipe_is_short(name: str) -> None:
    with pytest.raises(SettingError, match=r"Unknown recipe.*`taichinet recipes` lists") as caught:
        get_recipe(name)
    assert len(str(caught.value)) < 600
    result = CliRunner().invoke(app, ["recipes", name])
    assert isinstance(result.exception, SettingError)
    assert len(str(result.exception)) < 600
