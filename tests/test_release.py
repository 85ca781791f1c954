"""The version and the supported versions of Python are the same in all project files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from taichinet.version import __version__

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_version_is_that_of_the_changelog_and_the_citation() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == __version__
    newest = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)[0]
    assert newest in ("Unreleased", f"{__version__} - {citation['date-released']}")


def test_supported_python_versions_are_those_that_are_tried() -> None:
    classifiers = re.findall(r"Programming Language :: Python :: (3\.\d+)", read("pyproject.toml"))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    (tried,) = re.findall(r"^PYTHONS := (.+)$", read("Makefile"), re.MULTILINE)
    workflow = yaml.safe_load(read(".github/workflows/tests.yml"))
    assert classifiers == tried.split() == workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert project["requires-python"] == f">={classifiers[0]}"


def test_workflows_only_call_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w -]+?):(?!=)", read("Makefile"), re.MULTILINE))
    known = {target for line in targets for target in line.split()}
    for file in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
        for command in (step["run"] for job in jobs.values() for step in job["steps"] if "run" in step):
            assert command.startswith("make "), (file.name, command)
            target = command.split()[1]
            expanded = {target} if "$" not in target else {"test-lowest", "test-newest"}
            assert expanded <= known, (file.name, command)


def test_licence_of_the_example_images_is_declared_and_included() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["license"].split(" AND ") == ["Apache-2.0", "CC-BY-4.0"]
    assert all((ROOT / name).is_file() for name in project["license-files"])
    assert "CC BY 4.0" in read(project["license-files"][1])
