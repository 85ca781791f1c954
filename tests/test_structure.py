"""Limits on the size of functions."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "taichinet"
MAX_LINES, MAX_PARAMETERS = 60, 7


@cache
def functions() -> tuple[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef], ...]:
    return tuple(
        (f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.name}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def test_no_function_is_longer_than_60_lines() -> None:
    sizes = {name: (node.end_lineno or node.lineno) - node.lineno + 1 for name, node in functions()}
    assert len(sizes) > 1000
    assert {name: lines for name, lines in sizes.items() if lines > MAX_LINES} == {}


def is_kernel(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether Triton compiles the function: its arguments are pointers and sizes."""
    return any(ast.unparse(decorator) == "triton.jit" for decorator in function.decorator_list)


def test_no_function_outside_the_command_line_has_more_than_seven_parameters() -> None:
    counted = [(name, node) for name, node in functions() if not (name.startswith("cli/") or is_kernel(node))]
    counts = {name: len(parameters(node)) for name, node in counted}
    assert {name: count for name, count in counts.items() if count > MAX_PARAMETERS} == {}
