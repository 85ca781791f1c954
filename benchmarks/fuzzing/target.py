"""Target: an entry point of taichinet, how its inputs are generated, and how its result is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from zlib import crc32


class WrongValueError(Exception):
    """A damaged input was accepted as correct, or two readers of one file do not agree."""


@dataclass(frozen=True)
class Case:
    """One input: the files of a folder by their path in it, and the words of a command line."""

    files: dict[str, bytes] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write all files into `folder`."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@dataclass(frozen=True)
class Target:
    """An entry point.

    `make` draws a case. `check` gets the folder with the case's files and the case: it returns where the input is
    accepted and its values are right, raises WrongValueError where they are wrong, and a TaiChiNetError (or one of
    `refusals`) where the input is refused. Any other exception is a crash. `command` is the command that calls the
    same functions. `weight` is the share of inputs relative to other targets.
    """

    name: str
    command: str
    make: Callable[[Random], Case]
    check: Callable[[Path, Case], None]
    weight: int = 10
    refusals: tuple[type[Exception], ...] = ()


def random_for(seed: int, target: str, index: int) -> Random:
    """The random numbers of input `index` of `target`, independent of all other inputs."""
    return Random(seed * 1_000_003 + crc32(target.encode()) * 65_537 + index)  # noqa: S311 - not for secrets
