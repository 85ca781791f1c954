"""A network in a Python file outside the package, given as FILE.py:NAME: the file is read, identified and executed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from taichinet.errors import SettingError
from taichinet.signals import EXIT_TERMINATED
from taichinet.storage.digest import digest_bytes

if TYPE_CHECKING:  # not at run time: weights are described without torch
    from torch import nn

MAX_BYTES = 1_000_000
_DIGITS = 16  # of the SHA-256 in the name of the model, as in the identity of a run
_MODEL = re.compile(rf"[^\W\d]\w*@[0-9a-f]{{{_DIGITS}}}")


@dataclass(frozen=True)
class NetworkCode:
    """The code of a network.

    Attributes:
        file: Name of the file, without folder.
        name: The class or function in it that returns the network.
        content: The bytes of the file.
    """

    file: str
    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return digest_bytes(self.content)

    @property
    def model(self) -> str:
        """Name of the network in the catalogue, NAME@DIGEST: another file is another network."""
        return model_of(self.name, self.sha256)

    def to_json_dict(self) -> dict[str, str]:
        """What config.json records of the code."""
        return {"file": self.file, "name": self.name, "sha256": self.sha256}

    def execute(self) -> Callable[..., nn.Module]:
        """Execute the file and return its class or function `name`.

        Raises:
            SettingError: The file cannot be executed, or has no class or function of that name.
        """
        # A module of a fixed name in sys.modules, so that the network can be sent to the other processes of torchrun.
        module = ModuleType(f"taichinet_own_{self.sha256[:_DIGITS]}")
        module.__file__ = self.file
        module.__dict__["print"] = _print_to_stderr  # standard output is for the results of commands
        sys.modules[module.__name__] = module
        try:
            exec(compile(self.content, self.file, "exec"), module.__dict__)  # noqa: S102 - the user asked for it
        except (Exception, SystemExit) as error:  # the code of the user may raise anything
            del sys.modules[module.__name__]
            if isinstance(error, SystemExit) and error.code == EXIT_TERMINATED:  # SIGTERM
                raise
            raise SettingError(
                f"{self.file} cannot be executed ({type(error).__name__}: {error}). It must be one file that imports "
                "only installed packages. Correct the file."
            ) from error
        factory = getattr(module, self.name, None)
        if not callable(factory):
            raise SettingError(
                f"{self.file} has no class or function '{self.name}'. It has: {', '.join(_callables(module))}."
            )
        found: Callable[..., nn.Module] = factory
        return found


def _print_to_stderr(*values: object, **options: Any) -> None:
    print(*values, **{"file": sys.stderr, **options})


def _callables(module: ModuleType) -> list[str]:
    """Names of the classes and functions that the file defines."""
    members: dict[str, Any] = vars(module)
    return [name for name, value in members.items() if getattr(value, "__module__", None) == module.__name__] or [
        "none"
    ]


def model_of(name: str, sha256: str) -> str:
    """Name in the catalogue of the network `name` in a file with this SHA-256."""
    return f"{name}@{sha256[:_DIGITS]}"


def is_own_model(model: str) -> bool:
    """Whether `model` is the name of a network in a file outside the package."""
    return _MODEL.fullmatch(model) is not None


def names_file(argument: str) -> bool:
    """Whether a recipe on the command line is a network in a file: FILE.py:NAME, or FILE.py without the name."""
    return argument.endswith(".py") or argument.rpartition(":")[0].endswith(".py")


def read_code(argument: str) -> NetworkCode:
    """Read the file of FILE.py:NAME, without executing it.

    Args:
        argument: The file and the class or function in it, separated by a colon.

    Raises:
        SettingError: The name is absent or not valid, or the file cannot be read.
    """
    file, _, name = argument.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise SettingError(f"'{argument}' does not name a network. Write FILE.py:CLASS, e.g. mynet.py:MyNet.")
    return NetworkCode(Path(file).name, name, read_content(Path(file)))


def read_content(path: Path) -> bytes:
    """The bytes of a file of code; raises SettingError if it cannot be read or is larger than MAX_BYTES."""
    try:
        size = path.stat().st_size if path.is_file() else 0
        if size > MAX_BYTES:
            raise SettingError(f"{path} has {size} bytes; the limit of a file with a network is {MAX_BYTES}.")
        return path.read_bytes()
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror or error}). Give the path of the file.") from error
