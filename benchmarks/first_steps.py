"""Run the commands of README.md in a new clone and a new environment, and record the time of each.

    python benchmarks/first_steps.py --data Dataset_BUSI_with_GT -o RECORD.json

The commands are those of the shell blocks of README.md below SECTIONS, with the Python files of its other blocks beside
them. `make demo` is run before them, in another clone. Installations download from the package index, so their time
depends on the connection.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import record

ROOT = Path(__file__).parents[1]
SECTIONS = {"segment": "Segment my images", "compare": "Compare my network fairly", "ship": "Ship a model"}
DATA = "Dataset_BUSI_with_GT"


def main() -> None:
    """Measure all commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="BUSI, as distributed")
    parser.add_argument("-o", "--output", type=Path, help="record")
    parser.add_argument("--python", default=sys.executable, help="Python of the new environment")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = _clone(Path(folder) / "demo")
        demo = [_seconds(command, clone) for command in ("make .venv/.core", "make demo")]
        clone = _clone(Path(folder) / "first-steps")
        (clone / DATA).symlink_to(words.data.resolve())
        subprocess.run([words.python, "-m", "venv", ".venv"], cwd=clone, check=True)
        steps = {name: _section(heading, clone) for name, heading in SECTIONS.items()}
    record(words.output, {"clock": "wall clock", "demo": demo, **steps})


def commands_of(text: str, heading: str) -> list[str]:
    """The command lines of the shell blocks below a heading, without comments."""
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)).splitlines()
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def _section(heading: str, clone: Path) -> list[dict[str, object]]:
    text = (clone / "README.md").read_text(encoding="utf-8")
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (clone / name).write_text(code, encoding="utf-8")
    return [_seconds(command, clone) for command in commands_of(text, heading)]


def _clone(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def _seconds(command: str, folder: Path) -> dict[str, object]:
    print(f"$ {command}", file=sys.stderr, flush=True)
    activate = "if [ -f .venv/bin/activate ]; then source .venv/bin/activate; fi; "
    began = time.perf_counter()
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own["TAICHINET_CACHE"] = str(folder / "cache")  # not the record of this user
    subprocess.run(["bash", "-c", activate + command], cwd=folder, env=own, check=True, stdout=sys.stderr)
    return {"command": command, "seconds": round(time.perf_counter() - began, 1)}


if __name__ == "__main__":
    main()
