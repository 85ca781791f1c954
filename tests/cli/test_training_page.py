"""The commands of the pages on training are accepted by the command line, and their settings by the recipes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from taichinet.cli.app import app
from taichinet.cli.suites import parse_numbers
from taichinet.experiments.experiment import parse_assignments, vary
from taichinet.experiments.recipes.catalogue import get_recipe

DOCS = Path(__file__).parents[2] / "docs" / "compare"
PAGES = ("training.md", "settings.md", "fine-tuning.md", "augmentation.md")
PAGE = "".join((DOCS / name).read_text(encoding="utf-8") for name in PAGES)
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_is_valid(line: str) -> None:
    program, name, *arguments = shlex.split(line, comments=True)
    assert program == "taichinet"
    group: Any = typer.main.get_command(app)
    parameters = group.commands[name].make_context(name, arguments).params
    recipe = parameters.get("recipe" if name == "train" else "name")  # `compare` takes several
    if recipe is not None:
        changes = parse_assignments(parameters.get("assignments") or [])
        pretrained = changes.pop("options.pretrained", None)
        assert vary(get_recipe(recipe), changes).training.epochs > 0
        assert pretrained in (None, "convnext_tiny.safetensors")
    assert parse_numbers(parameters.get("seeds"), "--seed") in (None, (0, 1, 2), (0, 1, 2, 3, 4))
