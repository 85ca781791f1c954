"""Changes of the members of a bundle, for tests of bundles that were changed or damaged."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Apply `change` to the members of a zip."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def change_record(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Apply `change` to bundle.json."""

    def apply(members: dict[str, bytes]) -> None:
        record = json.loads(members["bundle.json"])
        change(record)
        members["bundle.json"] = json.dumps(record).encode()

    rewrite(path, apply)
