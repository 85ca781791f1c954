"""Descriptions of all recipes and settings, which `description.py` wrote, without importing the networks."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from taichinet.settings import Record

TABLE = Path(__file__).parent / "recipes.json"


class SettingRow(Record):
    """Default, meaning and allowed values of a setting."""

    default: Any
    meaning: str
    allowed: str


class RecipeRow(Record):
    """A recipe: network, input resolution in pixels, epochs, images, purpose, time class, and settings that differ."""

    network: str
    size: int
    epochs: int
    images: str
    purpose: str
    time: str
    values: dict[str, Any]


class RecipeTable(Record):
    """Common settings, options of each network, and recipes, by dotted key or name."""

    settings: dict[str, SettingRow]
    options: dict[str, dict[str, SettingRow]]
    recipes: dict[str, RecipeRow]

    def settings_of(self, recipe: RecipeRow) -> dict[str, tuple[Any, SettingRow]]:
        """Value and description of every setting of a recipe, by dotted key; the options of the network come first."""
        rows = self.options[recipe.network] | self.settings
        return {key: (recipe.values.get(key, row.default), row) for key, row in rows.items()}

    def to_text(self) -> str:
        """The content of recipes.json: one line for each recipe and setting."""
        content = self.model_dump(mode="json")
        blocks = {"settings": content["settings"], "recipes": content["recipes"]}
        blocks |= {f"options {name}": rows for name, rows in content["options"].items()}
        lines = [
            f"{json.dumps(title)}: {{\n"
            + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in rows.items())
            + "\n}"
            for title, rows in blocks.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def read_recipes() -> RecipeTable:
    """The descriptions of all recipes; those of networks of installed packages are made by importing them."""
    if entry_points(group="taichinet.models"):
        from taichinet.experiments.recipes.description import describe_recipes

        return describe_recipes()
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    options = {key.removeprefix("options "): rows for key, rows in content.items() if key.startswith("options ")}
    return RecipeTable.model_validate({**content, "options": options})
