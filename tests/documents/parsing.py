"""Parse a command of a page with the parser of its program, without running it."""

from __future__ import annotations

import argparse
import ast
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import pytest
import typer.main

from documents.exceptions import exception_of
from documents.pages import ROOT, Item, named_files
from taichinet.cli.app import app
from taichinet.cli.suites import add_reference, parse_numbers, select_suites
from taichinet.datasets.folds import PROTOCOLS
from taichinet.experiments.experiment import parse_assignments, vary
from taichinet.experiments.recipes.catalogue import SCALES, get_recipe
from taichinet.inference.runtimes.catalogue import AUTO, RUNTIMES, export_formats
from taichinet.models.own_code import names_file

CHOICES: dict[str, dict[str, Iterable[str]]] = {
    "taichinet train": {"protocol": PROTOCOLS},
    "taichinet recipes": {"scale": SCALES},
    "taichinet export": {"form": export_formats()},
    "taichinet predict": {"runtime": (AUTO, *RUNTIMES)},
    "taichinet data export": {"form": ("nnunet", "monai")},
}
"""The values that the parameters of a command accept, where the command and not its parser compares them."""


class ParsedError(Exception):
    """Raised after a successful parse, instead of running the program."""


def parse(item: Item) -> None:
    """Raise an exception if the program of the command would not accept its words, or a file or name does not exist."""
    words = list(item.words)
    arguments = taichinet_arguments(words)
    if arguments is not None:
        parse_taichinet(arguments)
    elif words[0] in PARSERS:
        PARSERS[words[0]](words[1:])
    else:
        assert exception_of(item), f"{words[0]} has no parser in PARSERS, and is not in the table NOT_RUN"


def taichinet_arguments(words: list[str]) -> list[str] | None:
    """The words after `taichinet`, also if `python -m`, torchrun or srun starts it; None for another program."""
    for index, word in enumerate(words):
        if word == "taichinet" and (index == 0 or words[index - 1] == "-m" or words[0] == "srun"):
            return words[index + 1 :]
    return None


@cache
def command_line() -> Any:
    """The parser of `taichinet`."""
    return typer.main.get_command(app)


def find_command(words: Sequence[str]) -> tuple[str, Any, list[str]]:
    """The command that the words begin with, with its full name and the words after it."""
    command, names, rest = command_line(), ["taichinet"], list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"`{' '.join(names)}` has no command '{name}'"
        command = command.commands[name]
        names.append(name)
    return " ".join(names), command, rest


def check_options(words: Sequence[str]) -> None:
    """Check the names of the command and of its options; the words may be incomplete, as in a sentence."""
    if not words or words[0] == "COMMAND":
        return
    _, command, rest = find_command(words)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        option = word.partition("=")[0].rstrip(".,")
        assert not option.startswith("-") or option in known | {"-h", "--help"}, f"{command.name} has no {option}"


def parse_taichinet(words: list[str]) -> None:
    """Parse the words after `taichinet`, and look up the names of recipes, suites and choices in them."""
    name, command, rest = find_command(words)
    if hasattr(command, "commands") or {"-h", "--help"}.intersection(rest):
        assert rest, f"`{name}` needs a command"
        check_options(words)  # to parse `--install-completion` would install it
        return
    values = command.make_context(name, rest).params
    for parameter, choices in CHOICES.get(name, {}).items():
        assert values[parameter] in (None, *choices), f"{values[parameter]} is not one of {', '.join(choices)}"
    changes = parse_assignments(values.get("assignments") or [])
    changes.pop("options.pretrained", None)  # a file of the user
    if "suites" in values:
        suites = [suite_without_code(suite) for suite in values["suites"]]
        against = None if values["against"] is None else suite_without_code(values["against"])
        given = [values[key] for key in ("scale", "fold", "protocol", "seeds", "assignments")]
        select_suites(add_reference(suites, against), ["data"] if values["data"] else [], *given)
        return
    recipe = values.get("recipe") if name == "taichinet train" else values.get("name")
    if name in ("taichinet train", "taichinet recipes") and recipe is not None:
        if names_file(recipe):
            check_own_network(recipe)
            changes = {key: value for key, value in changes.items() if not key.startswith("options.")}
        vary(get_recipe("cpu-unet" if names_file(recipe) else recipe), changes)
    for option, parameter in (("--fold", "folds"), ("--seed", "seeds")):
        if isinstance(values.get(parameter), list):
            parse_numbers(values[parameter], option)


def check_own_network(argument: str) -> None:
    """Check that FILE.py:NAME names a file of a page, and a class or function in it."""
    file, _, name = argument.partition(":")
    assert file in named_files(), f"no page has a file {file}: `# {file}` as its first line"
    defined = [node.name for node in ast.parse(named_files()[file]).body if hasattr(node, "name")]
    assert name in defined, f"{file} defines {', '.join(defined)}"


def suite_without_code(name: str) -> str:
    """`name`, or a recipe in place of a network in a file, which is executed only by the test that runs the page."""
    if not names_file(name):
        return name
    check_own_network(name)
    return "unet"


def parse_python(words: list[str]) -> None:
    """`python -m MODULE`, `python -c CODE` or `python FILE`."""
    if words[0] == "-c":
        compile(words[1], "<-c>", "exec")
    elif words[:2] == ["-m", "taichinet.runner"]:
        from taichinet import runner

        parse_arguments(runner.main, words[2:])
    elif words[0] == "-m" and words[1] in PARSERS:
        PARSERS[words[1]](words[2:])
    elif words[0] == "-m":
        assert find_spec(words[1]) is not None, f"there is no module {words[1]}"
    else:
        file = ROOT / words[0]
        assert file.is_file(), f"there is no file {words[0]}"
        if "ArgumentParser" not in file.read_text(encoding="utf-8"):  # its `main` would run
            assert len(words) == 1, f"{words[0]} takes no arguments"
        elif file.parent.name == "benchmarks":
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(file.parent)
                parse_arguments(runpy.run_path(str(file))["main"], words[1:])


def parse_arguments(main: Callable[[], object], words: list[str]) -> None:
    """Parse the words with the ArgumentParser of `main`, which ends after its call of `parse_args`."""
    original = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> None:
        original(self, args, namespace)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        patch.setattr(sys, "argv", ["program", *words])
        try:
            main()
        except ParsedError:
            return
        except SystemExit as error:
            raise AssertionError(f"argparse does not accept {shlex.join(words)}") from error
    raise AssertionError("the program did not parse its arguments")


def parse_make(words: list[str]) -> None:
    """`make TARGET`."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for word in words:
        assert "=" in word or word in targets, f"the Makefile has no target {word}"


@cache
def extras() -> frozenset[str]:
    """The extras of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return frozenset(project["optional-dependencies"])


def parse_pip(words: list[str]) -> None:
    """`pip install` and `pip download`: the extras of this package, and the files of `-c` and `-r`."""
    assert words[0] in ("install", "download"), f"pip {words[0]}"
    for before, word in pairwise(words):
        if before in ("-c", "-r", "--constraint", "--requirement"):
            assert (ROOT / word).is_file(), f"there is no file {word}"
        if match := re.fullmatch(r"(?:\.|taichinet|dist/taichinet[^\[]*\.whl)\[(.+)\]", word):
            assert set(match[1].split(",")) <= extras(), f"the package has no extra {match[1]}"


def parse_shell(words: list[str]) -> None:
    """`sh FILE`."""
    assert (ROOT / words[0]).is_file(), f"there is no file {words[0]}"


def parse_docker(words: list[str]) -> None:
    """`docker build`: its file; `docker run`: the command of the container, if it begins with `taichinet`."""
    files = [word for before, word in pairwise(words) if before in ("-f", "--file")]
    for file in files or (["Dockerfile"] if words[0] == "build" else []):
        assert (ROOT / file).is_file(), f"there is no file {file}"
    if words[0] == "run" and (arguments := container_arguments(words[1:])):
        parse_taichinet(arguments)


def container_arguments(words: list[str]) -> list[str]:
    """The words after the image, whose name begins with `taichinet`, and which starts the command line."""
    for index, word in enumerate(words):
        if re.match(r"taichinet\b", word) and not words[index - 1].startswith("--name"):
            rest = words[index + 1 :]
            return rest[1:] if rest[:1] == ["taichinet"] else rest
    return []


PARSERS: dict[str, Callable[[list[str]], None]] = {
    "python": parse_python,
    "python3": parse_python,
    "make": parse_make,
    "pip": parse_pip,
    "sh": parse_shell,
    "docker": parse_docker,
    "cd": lambda words: None,
    "source": lambda words: None,
    ".": lambda words: None,
}
"""The programs that the pages use beside taichinet, and what is checked of their arguments."""
