"""Descriptions of recipes and their settings, from the settings classes, for `taichinet recipes`.

`python -m taichinet.experiments.recipes.description` writes the descriptions of all recipes of the package to
recipes.json, so that the command does not have to import PyTorch.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from taichinet.datasets.ultrasound.settings import Within
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.recipes.ablations import PURPOSES
from taichinet.experiments.recipes.baselines import BASELINES
from taichinet.experiments.recipes.best import BEST
from taichinet.experiments.recipes.catalogue import FULL, get_recipe, list_recipes, variations
from taichinet.experiments.recipes.table import TABLE, RecipeRow, RecipeTable, SettingRow
from taichinet.models.catalogue import find_entry, list_models, model_settings
from taichinet.models.own_code import is_own_model
from taichinet.storage.atomic import write_text

# Per fold of BUSI, as the module docstring of `catalogue.py` has it; recipes without a scale are for a CPU or a GPU.
TIMES = {
    "busi": "GPU",
    "cpu": "two cores: an hour",
    "short": "two cores: 20 minutes",
    "demo": "two cores: two minutes, on phantoms",
}
VARIATIONS = {
    "-second-path": "with a second path for the background, head and complementary loss",
    "-strategy": "with the easy-to-hard strategy",
    "-own-loss": "with the loss terms of its own paper",
}


def describe_recipes() -> RecipeTable:
    """All recipes, and the settings of all networks."""
    models = [name for name in list_models() if not is_own_model(name)]
    return RecipeTable(
        settings=_describe(Experiment, skip=("options",)),
        options={name: _describe(find_entry(name).settings, "options.") for name in models},
        recipes={name: describe_recipe(get_recipe(name), purpose_of(name)) for name in list_recipes()},
    )


def describe_recipe(recipe: Experiment, purpose: str) -> RecipeRow:
    """Network, purpose and the settings that differ from their defaults."""
    values = recipe.model_dump(mode="json")
    options = model_settings(recipe.model, **recipe.options).model_dump(mode="json")
    rows = _describe(Experiment, skip=("options",)) | _describe(find_entry(recipe.model).settings, "options.")
    changed = {}
    for key, row in rows.items():
        value: Any = {**values, "options": options}
        for part in key.split("."):
            value = value[part]
        if value != row.default:
            changed[key] = value
    scale = recipe.name.partition("-")[0]
    return RecipeRow(
        network=recipe.model,
        size=recipe.data.size,
        epochs=recipe.training.epochs,
        images="with normal images" if recipe.data.include_normal else "lesion images",
        purpose=purpose,
        time=TIMES.get(scale, "CPU" if recipe.name.startswith("best-lite") and recipe.data.size < 224 else "GPU"),
        values=changed,
    )


def purpose_of(name: str) -> str:
    """One line on a recipe of the catalogue."""
    if name in BEST:
        return _first_line(BEST[name])
    row = name.partition("-")[2]
    if row == FULL:
        return "TaiChiNet, the network of the paper"
    if row in PURPOSES:
        return PURPOSES[row]
    rows = variations()
    base = next((row.removesuffix(suffix) for suffix in VARIATIONS if row.endswith(suffix)), row)
    if base in BASELINES or base in list_models():
        variation = VARIATIONS.get(row.removeprefix(base), "with the training of TaiChiNet, without its strategy")
        return f"{find_entry(base).title}, {variation}" if row not in OTHERS else _first_line(rows[row])
    return _first_line(rows[row])


OTHERS = ("taichinet-lite", "taichinet-timm")  # networks whose recipe is not that of a baseline


def _first_line(function: Any) -> str:
    text = inspect.getdoc(function) or ""
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".")


def _describe(
    model: type[BaseModel], prefix: str = "", default: BaseModel | None = None, skip: tuple[str, ...] = ()
) -> dict[str, SettingRow]:
    """The settings of `model` by dotted key; `default` has other default values than those of its fields."""
    rows: dict[str, SettingRow] = {}
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        value = getattr(default, name) if default is not None else _default(field)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            nested = _describe(inner, f"{prefix}{name}.", value)
            for key, row in nested.items():
                own = f"{row.meaning} ({field.description})" if prefix.endswith("ultrasound.") else row.meaning
                allowed = _bounds(field) or row.allowed if key.endswith(".range") else row.allowed
                nested[key] = row.model_copy(update={"meaning": own, "allowed": allowed})
            rows |= nested
        else:
            rows[prefix + name] = SettingRow(
                default=value.model_dump(mode="json") if isinstance(value, BaseModel) else _plain(value),
                meaning=field.description or "",
                allowed=_allowed(field),
            )
    return rows


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _bounds(field: FieldInfo) -> str:
    """Bounds of the range of an effect of the augmentation."""
    checks = [item.func for item in field.metadata if isinstance(item, AfterValidator)]
    return next((f"within [{c.least:g}, {c.greatest:g}]" for c in checks if isinstance(c, Within)), "")


def _allowed(field: FieldInfo) -> str:
    """The allowed values of a setting, e.g. "1 to 4096" or "constant | cosine"."""
    kinds = [_kind(kind) for kind in _alternatives(field.annotation)]
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
    limits = [
        f"{word} {value:g}" if isinstance(value, float) else f"{word} {value}"
        for item in field.metadata
        for name, word in words.items()
        if (value := getattr(item, name, None)) is not None
    ]
    return ", ".join([" | ".join(kinds), *limits])


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"
    return get_args(annotation) if is_union else (annotation,)


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " | ".join(str(value) for value in get_args(kind))
    if kind is type(None):
        return "null"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "{" + ", ".join(kind.model_fields) + "}"
    names = {bool: "true | false", int: "whole number", float: "number", str: "text", dict: "{name: number}"}
    return names.get(get_origin(kind) or kind, "[least, greatest]")


if __name__ == "__main__":
    write_text(TABLE, describe_recipes().to_text())
