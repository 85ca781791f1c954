"""The fuzzer's targets of bundles and archives: unchanged inputs are accepted, and wrong results are findings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from fuzzing import transport  # noqa: E402
from fuzzing.mutations import zip_of  # noqa: E402
from fuzzing.target import Case, Target, WrongValueError, random_for  # noqa: E402
from fuzzing.worker import load_targets  # noqa: E402

from taichinet.errors import DataError  # noqa: E402


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture(scope="module")
def targets(seeds: Path) -> dict[str, Target]:
    return load_targets(("fuzzing.transport",), seeds)


def test_targets_can_be_made_again_in_the_same_folder(seeds: Path, targets: dict[str, Target]) -> None:
    again = load_targets(("fuzzing.transport",), seeds)

    for name, target in targets.items():
        random = random_for(0, name, 1), random_for(0, name, 1)
        assert target.make(random[0]).files == again[name].make(random[1]).files


def test_unchanged_bundle_is_accepted_and_one_of_other_pixels_is_not(
    seeds: Path, targets: dict[str, Target], tmp_path: Path
) -> None:
    content = (seeds / "transport/0/data.zip").read_bytes()
    (tmp_path / "data.zip").write_bytes(content)
    targets["bundle"].check(tmp_path, Case())

    members = transport._members(content)
    members["images/00001.png"] = members["images/00002.png"]
    (tmp_path / "data.zip").write_bytes(zip_of(members))

    with pytest.raises(DataError, match="SHA-256"):
        targets["bundle"].check(tmp_path, Case())


def test_archive_that_changes_files_although_it_is_refused_is_a_finding(
    targets: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_refuse(archive: Path, out: Path, overwrite: bool) -> None:
        out.mkdir(parents=True)
        (out / "result.json").write_text("{}")
        raise DataError("refused")

    monkeypatch.setattr(transport, "unpack_runs", write_and_refuse)

    with pytest.raises(WrongValueError, match="a refused archive changed files"):
        targets["archive"].check(tmp_path, Case())


def test_huge_declared_sizes_and_cut_zips_are_drawn() -> None:
    files = {"a.txt": b"x" * 100, "b.txt": b"y" * 100}
    whole = {zip_of(files), zip_of(files, 0)}

    drawn = [transport._change_zip(random_for(0, "zip", number), files) for number in range(60)]

    assert any(len(content) < 150 for content in drawn)
    assert any(b"\xff\xff\xff\xff" in content for content in drawn)
    assert not whole & set(drawn[:10])
