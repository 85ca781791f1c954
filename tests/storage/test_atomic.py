"""Files are complete under their final name or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from taichinet.errors import StorageError
from taichinet.storage.atomic import (
    final_name,
    remove_leftovers,
    replacing,
    temporary_folder,
    write_json,
    write_text,
)
from taichinet.storage.digest import digest_bytes, digest_file, digest_tensors
from taichinet.storage.tensors import write_tensors


def _write_half(path: Path, fault: Exception) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise fault


def test_failed_write_keeps_the_earlier_file_and_leaves_no_other(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(StorageError, match=r"a\.txt"):
        _write_half(tmp_path / "a.txt", OSError(28, "No space left on device"))
    assert (tmp_path / "a.txt").read_text() == "first"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208 - hidden files too


def test_other_errors_propagate_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _write_half(tmp_path / "b" / "a.txt", ZeroDivisionError())
    assert not list((tmp_path / "b").iterdir())


@pytest.mark.parametrize(("error", "raised"), [(RuntimeError, RuntimeError), (OSError, StorageError)])
def test_temporary_folder_reports_only_failed_writes_as_storage_errors(
    error: type[Exception], raised: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(raised), temporary_folder(tmp_path / "out"):
        raise error("the quantiser failed")
    assert not (tmp_path / "out").exists()


def test_json_replaces_an_earlier_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    write_json(tmp_path / "a.json", {"k": 2})
    assert (tmp_path / "a.json").read_text() == '{\n "k": 2\n}\n'


def test_digests_of_text_and_json_are_stable(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_file(tmp_path / "a") == digest_bytes(b"abc") == expected


def test_tensor_digest_depends_on_values_names_shapes_and_types_but_not_layout() -> None:
    tensor = torch.arange(24.0).reshape(1, 2, 3, 4)
    digest = digest_tensors({"a": tensor, "b": torch.tensor(3)})
    assert digest == digest_tensors({"b": torch.tensor(3), "a": tensor.to(memory_format=torch.channels_last)})
    flipped = tensor.clone()
    flipped.view(torch.int32).flatten()[5] ^= 1  # the lowest bit
    others = [
        {"a": flipped, "b": torch.tensor(3)},
        {"c": tensor, "b": torch.tensor(3)},
        {"a": tensor.flatten(), "b": torch.tensor(3)},
        {"a": tensor.double(), "b": torch.tensor(3)},
        {"a": tensor},
    ]
    assert all(digest_tensors(other) != digest for other in others)


def test_only_temporary_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".scores.csv.1a2b3c4d.tmp", ".5e6f7a8b.tmp/scores.csv", "weights/.model.9c0d1e2f.tmp", "scores.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    remove_leftovers(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["scores.csv", "weights"]
    remove_leftovers(tmp_path / "absent")


def test_tensors_have_the_permissions_of_other_files(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "")
    write_tensors(tmp_path / "new.safetensors", {"a": torch.zeros(2)})
    assert (tmp_path / "new.safetensors").stat().st_mode == (tmp_path / "text").stat().st_mode


def test_final_name_of_a_temporary_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.b\nc.png") as temporary:
        temporary.write_bytes(b"")
        assert final_name(temporary) == "a.b\nc.png"
    assert final_name(tmp_path / "a.png") is None
    assert final_name(tmp_path / ".a.tmp") is None
