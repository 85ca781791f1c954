"""`taichinet recipes`: all recipes, or every setting of one recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from taichinet.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taichinet.experiments.recipes.table import RecipeRow, RecipeTable

_Name = Annotated[
    str | None, typer.Argument(metavar="[RECIPE|FILE.py:CLASS]", help="Show every setting of this recipe.")
]


def recipes(
    name: _Name = None,
    scale: Annotated[
        str | None, typer.Option(metavar="SCALE", help="List only the recipes of this scale, e.g. cpu.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes, or show every setting of one with its value, default, allowed values and meaning.

    The settings are in the form that `train --set` takes.
    """
    import json

    from taichinet.errors import SettingError
    from taichinet.experiments.recipes.table import read_recipes

    if name is not None and scale is not None:
        raise SettingError("--scale lists recipes. Leave it out to show the settings of one.")
    table, own = read_recipes(), name is not None and ".py:" in name
    if name is not None:
        row = _own(name, table) if own else _find(name, table)
        if as_json:
            print(json.dumps(_recipe_json(name, row, table)))
        else:
            _print_recipe(name, row, table)
        return
    rows = _of_scale(scale, table)
    if as_json:
        print(json.dumps([{"name": key, **row.model_dump(exclude={"values"})} for key, row in rows.items()]))
        return
    cells = [(key, r.network, f"{r.size} px", f"{r.epochs} epochs", r.images, r.time) for key, r in rows.items()]
    purposes = [row.purpose for row in rows.values()]
    _print_columns([("RECIPE", "NETWORK", "SIZE", "EPOCHS", "IMAGES", "TIME"), *cells], ["PURPOSE", *purposes])


def _find(name: str, table: RecipeTable) -> RecipeRow:
    from taichinet.errors import unknown_name

    if name not in table.recipes:
        raise unknown_name("recipe", name, tuple(table.recipes), "`taichinet recipes` lists them")
    return table.recipes[name]


def _own(name: str, table: RecipeTable) -> RecipeRow:
    """The recipe of a network in a file, which is executed; its options are those of the file."""
    from taichinet.experiments.recipes.description import describe_recipe
    from taichinet.experiments.recipes.own import own_recipe

    recipe = own_recipe(name, {})
    table.options[recipe.model] = dict(table.options["unet"])
    for option in ("width", "output_kernel"):
        table.options[recipe.model].pop(f"options.{option}", None)
    return describe_recipe(recipe, f"The network {name} with the settings of cpu-unet")


def _of_scale(scale: str | None, table: RecipeTable) -> dict[str, RecipeRow]:
    from taichinet.errors import unknown_name

    scales = tuple(dict.fromkeys(name.partition("-")[0] for name in table.recipes))
    if scale is not None and scale not in scales:
        raise unknown_name("scale", scale, scales)
    return {name: row for name, row in table.recipes.items() if scale in (None, name.partition("-")[0])}


def _recipe_json(name: str, row: RecipeRow, table: RecipeTable) -> dict[str, Any]:
    settings = {
        key: {"value": value, **setting.model_dump()} for key, (value, setting) in table.settings_of(row).items()
    }
    return {"name": name, **row.model_dump(exclude={"values"}), "settings": settings}


def _print_recipe(name: str, row: RecipeRow, table: RecipeTable) -> None:
    print(f"{name}: {row.purpose}")
    print(f"Change a setting with: taichinet train {name} --data DATA --set KEY=VALUE\n")
    settings = table.settings_of(row)
    cells = [(f"{key}={_yaml(value)}", _yaml(s.default), s.allowed) for key, (value, s) in settings.items()]
    meanings = [setting.meaning for _, setting in settings.values()]
    _print_columns([("KEY=VALUE", "DEFAULT", "ALLOWED"), *cells], ["MEANING", *meanings])


def _yaml(value: Any) -> str:
    """`value` as YAML in one line, without quotes where they are not needed."""
    import json

    return value if isinstance(value, str) and value.replace("-", "").replace("+", "").isalnum() else json.dumps(value)


def _print_columns(rows: Sequence[tuple[str, ...]], last: Sequence[str]) -> None:
    """Print aligned columns; lines are as long as they need to be, for `grep` and `less -S`."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    widths = [min(width, 60) for width in widths]
    for row, text in zip(rows, last, strict=True):
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), text]).rstrip())
