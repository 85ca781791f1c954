"""The figures in README.md are those of results/, and the commands that are timed are those of its sections."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import readme
from first_steps import SECTIONS, commands_of
from measuring import read_record

README = (readme.ROOT / "README.md").read_text(encoding="utf-8")


def test_every_generated_part_is_up_to_date() -> None:
    for name, lines in readme.parts().items():
        assert f"<!-- {name}: begin -->\n" + "\n".join(lines) + f"\n<!-- {name}: end -->" in README


def test_timed_commands_are_those_of_the_sections() -> None:
    steps = read_record(readme.FIRST_STEPS)
    for name, heading in SECTIONS.items():
        assert [step["command"] for step in steps[name]] == commands_of(README, heading)
        assert len(steps[name]) == 3


def test_readme_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150
