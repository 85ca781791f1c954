"""Reading of JSON and YAML files that users may have edited, with limits and clear error messages."""

from __future__ import annotations

import json
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from taichinet.errors import DataError, TaiChiNetError

LARGEST_JSON = 2**25
LARGEST_YAML = 2**20

_JSON_FAULTS = (ValueError, RecursionError, MemoryError)
_YAML_FAULTS = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError)


def read_json(file: Traversable, error: type[TaiChiNetError] = DataError, remedy: str = "") -> Any:
    """Read a JSON file.

    Args:
        file: A file in a folder or in an archive.
        error: Class of the exception that is raised.
        remedy: Last sentence of the message, e.g. "Delete it: it will be written again.".

    Returns:
        The parsed value.

    Raises:
        TaiChiNetError: Of class `error`: the file cannot be read, has more than `LARGEST_JSON` bytes, is not UTF-8 or
            not JSON, is nested too deeply, or has duplicate keys.
    """
    text = _read_text(file, LARGEST_JSON, error, remedy)
    try:
        content = json.loads(text, object_pairs_hook=_unique)
        if "\\ud" in text.lower():  # lone surrogates cannot be written to a file or terminal
            json.dumps(content, ensure_ascii=False).encode()
    except _JSON_FAULTS as fault:
        raise error(_message(str(file), "JSON", fault, remedy)) from fault
    return content


def read_yaml(file: Traversable, error: type[TaiChiNetError] = DataError, remedy: str = "") -> Any:
    """Read a YAML file of at most `LARGEST_YAML` bytes. Otherwise like `read_json`."""
    return parse_yaml(_read_text(file, LARGEST_YAML, error, remedy), str(file), error, remedy)


def parse_yaml(text: str, name: str, error: type[TaiChiNetError] = DataError, remedy: str = "") -> Any:
    """Parse YAML; `name` identifies the text in messages. Aliases (`*x`) and duplicate keys are refused."""
    if len(text) > LARGEST_YAML:
        raise error(f"{name} has {len(text)} characters; the limit is {LARGEST_YAML}. {remedy}".rstrip())
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except _YAML_FAULTS as fault:
        raise error(_message(name, "YAML", fault, remedy)) from fault


class _Loader(yaml.SafeLoader):
    """A safe loader without aliases, which can expand to huge content, and without duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        pairs = [(key.value, key) for key, _ in getattr(node, "value", []) if isinstance(key, yaml.ScalarNode)]
        _unique(pairs)
        return super().construct_mapping(node, deep)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"the key {shortened(twice)!r} occurs twice")
    return content


def _read_text(file: Traversable, limit: int, error: type[TaiChiNetError], remedy: str) -> str:
    try:
        if isinstance(file, Path):
            if file.exists() and not file.is_file():  # a pipe would block forever
                raise error(f"{file} is not a regular file. {remedy}".rstrip())
            if (size := file.stat().st_size) > limit:
                raise error(f"{file} has {size} bytes; the limit is {limit}. {remedy}".rstrip())
        content = file.read_bytes()
        if len(content) > limit:
            raise error(f"{file} has {len(content)} bytes; the limit is {limit}. {remedy}".rstrip())
        return content.decode("utf-8-sig")
    except (OSError, KeyError, UnicodeDecodeError) as fault:
        raise error(f"{file} cannot be read ({shortened(str(fault))}). {remedy}".rstrip()) from fault


def _message(name: str, kind: str, fault: BaseException, remedy: str) -> str:
    reason = "it is nested too deeply" if isinstance(fault, RecursionError) else shortened(str(fault) or repr(fault))
    return f"{name} cannot be read as {kind} ({reason}). {remedy}".rstrip()


def shortened(text: str, most: int = 200) -> str:
    """Return `text` on one line, truncated to `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."
