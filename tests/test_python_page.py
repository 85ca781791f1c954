"""The code of docs/reference/python.md and of the notebook runs as written, in a new process and an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / "reference" / "python.md").read_text(encoding="utf-8"), re.DOTALL)


def cells() -> list[str]:
    notebook = json.loads((DOCS / "notebooks/compare.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code), "committed with outputs"
    return ["".join(cell["source"]) for cell in code]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [snippets, cells])
def test_code_runs_as_written(parts: object, tmp_path: Path) -> None:
    assert callable(parts)
    # The hub has a test of its own, with a server.
    blocks = [block for block in parts() if "push_to_hub" not in block]
    assert len(blocks) >= 5
    (tmp_path / "page.py").write_text("\n\n".join(blocks), encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= ({"overlay.png", "results", "runs", "scores"} if parts is snippets else {"notebook-work"})
