"""Checkpoints: written atomically, with the previous one as fallback, and rejected for a different run."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from taichinet.errors import WeightsError
from taichinet.training.checkpoint import (
    CURRENT,
    PREVIOUS,
    Checkpoint,
    clear_checkpoints,
    load_checkpoint,
    save_checkpoint,
)

IDENTITY = "the run"


def checkpoint(epoch: int, numbers: int = 2000) -> Checkpoint:
    weights = {"weight": torch.full((numbers,), float(epoch))}
    return Checkpoint(
        identity=IDENTITY,
        epoch=epoch,
        network=weights,
        optimizer={"state": {0: {"step": torch.tensor(float(epoch))}}, "param_groups": [{"lr": 1e-3}]},
        best=weights,
        best_dice=0.5,
        best_epoch=epoch,
        history=[{"epoch": e, "loss": 1 / e, "step": "easy"} for e in range(1, epoch + 1)],
    )


def loaded(folder: Path) -> Checkpoint:
    state = load_checkpoint(folder, IDENTITY)
    assert state is not None
    return state


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Limit the size of files to `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_checkpoint_round_trips(tmp_path: Path) -> None:
    written = checkpoint(3)
    save_checkpoint(written, tmp_path / "deep" / "folder")
    state = loaded(tmp_path / "deep" / "folder")
    assert (state.identity, state.epoch, state.best_epoch, state.best_dice) == (IDENTITY, 3, 3, 0.5)
    assert state.history == written.history
    assert torch.equal(state.network["weight"], written.network["weight"])
    assert state.optimizer["param_groups"] == [{"lr": 1e-3}]


def test_load_returns_none_without_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, IDENTITY) is None
    assert load_checkpoint(tmp_path / "nowhere", IDENTITY) is None


def test_two_newest_checkpoints_are_kept_and_newest_is_loaded(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        save_checkpoint(checkpoint(epoch), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {CURRENT, PREVIOUS}
    assert loaded(tmp_path).epoch == 3
    (tmp_path / CURRENT).unlink()
    assert loaded(tmp_path).epoch == 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99, 0.9999])
def test_truncated_checkpoint_falls_back_one_epoch_with_warning(tmp_path: Path, share: float) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    save_checkpoint(checkpoint(2), tmp_path)
    content = (tmp_path / CURRENT).read_bytes()
    (tmp_path / CURRENT).write_bytes(content[: int(share * len(content))])
    with pytest.warns(UserWarning, match=f"{CURRENT}: .*resuming from {PREVIOUS}, an earlier epoch"):
        assert loaded(tmp_path).epoch == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 5000,
        b"not a checkpoint at all",
        b"\x80\x02}q\x00.",
        b"PK\x03\x04" + b"\0" * 100,
        b"\x80\x02K\x01.",
    ],
    ids=["zeros", "text", "empty pickled dict", "broken zip", "pickled number"],
)
def test_file_with_other_content_falls_back_one_epoch(tmp_path: Path, content: bytes) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    save_checkpoint(checkpoint(2), tmp_path)
    (tmp_path / CURRENT).write_bytes(content)
    with pytest.warns(UserWarning, match="an earlier epoch"):
        assert loaded(tmp_path).epoch == 1


def test_loading_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "code ran",))

    torch.save({**vars(checkpoint(1)), "history": [Trap()]}, tmp_path / CURRENT)
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path, IDENTITY)
    assert not (tmp_path / "code ran").exists()


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}], ids=["tensor", "list", "too few keys"])
def test_readable_file_without_checkpoint_is_rejected(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / CURRENT)
    with pytest.raises(WeightsError, match=r"No checkpoint of .* can be read: .*Train again with --overwrite"):
        load_checkpoint(tmp_path, IDENTITY)


def test_two_damaged_files_are_both_reported(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_checkpoint(checkpoint(epoch), tmp_path)
    for name in (CURRENT, PREVIOUS):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=f"{CURRENT}.*{PREVIOUS}") as caught:
        load_checkpoint(tmp_path, IDENTITY)
    assert caught.value.exit_code == 5


def test_checkpoint_of_other_settings_is_rejected_with_two_remedies(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    with pytest.raises(WeightsError, match=r"other settings or other training images.*--output.*--overwrite"):
        load_checkpoint(tmp_path, "another run")
    assert loaded(tmp_path).epoch == 1


def test_full_disk_does_not_damage_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    before = (tmp_path / CURRENT).read_bytes()

    def save_to_full_disk(content: object, file: Any) -> None:
        file.write(b"the first bytes still fit")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", save_to_full_disk)
    with pytest.raises(WeightsError, match=r"epoch 2 .*No space left.*one before is intact.*--resume"):
        save_checkpoint(checkpoint(2), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {CURRENT}
    assert (tmp_path / CURRENT).read_bytes() == before


@pytest.mark.parametrize("room", [0, 1000, 20_000])
def test_file_size_limit_does_not_damage_last_checkpoint(tmp_path: Path, room: int) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    with files_limited_to(room), pytest.raises(WeightsError, match=r"one before is intact: free disk space"):
        save_checkpoint(checkpoint(2, numbers=50_000), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {CURRENT}
    assert loaded(tmp_path).epoch == 1
    save_checkpoint(checkpoint(2), tmp_path)
    assert loaded(tmp_path).epoch == 2


def test_crash_between_renames_loses_at_most_one_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    save_checkpoint(checkpoint(2), tmp_path)
    rename = Path.replace
    renamed: list[str] = []

    def crash_at_second_rename(self: Path, target: Path) -> Path:
        renamed.append(self.name)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", crash_at_second_rename)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(checkpoint(3), tmp_path)
    monkeypatch.undo()
    assert loaded(tmp_path).epoch == 2
    save_checkpoint(checkpoint(3), tmp_path)
    assert loaded(tmp_path).epoch == 3


def test_damaged_file_never_replaces_valid_checkpoint(tmp_path: Path) -> None:
    """After a fallback, the next checkpoint must not replace the only valid file with the truncated one."""
    save_checkpoint(checkpoint(1), tmp_path)
    save_checkpoint(checkpoint(2), tmp_path)
    (tmp_path / CURRENT).write_bytes(b"torn")
    with pytest.warns(UserWarning, match="an earlier epoch"):
        good = loaded(tmp_path)
    save_checkpoint(replace(good, epoch=2), tmp_path)
    (tmp_path / CURRENT).write_bytes(b"torn again")
    with pytest.warns(UserWarning, match="an earlier epoch"):
        assert loaded(tmp_path).epoch == 1


def rewrite(path: Path, **changes: Any) -> None:
    """Replace values of a checkpoint and leave its recorded digest as it is."""
    content = torch.load(path, weights_only=True)
    torch.save({**content, **changes}, path)


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"weight": torch.full((2000,), 2.0).index_fill(0, torch.tensor(7), 2.0000002)}},
        {"best": {"weight": torch.full((1000, 2), 2.0)}},
        {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}},
        {"optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 2e-3}]}},
        {"best_dice": 0.6},
        {"epoch": 3},
        {"history": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_value_falls_back_to_previous_checkpoint(tmp_path: Path, change: dict[str, Any]) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    save_checkpoint(checkpoint(2), tmp_path)
    rewrite(tmp_path / CURRENT, **change)
    with pytest.warns(UserWarning, match="another digest than it records; resuming from checkpoint-previous"):
        assert loaded(tmp_path).epoch == 1


def test_flipped_bits_of_tensors_are_detected(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    save_checkpoint(checkpoint(2), tmp_path)
    content, previous = (tmp_path / CURRENT).read_bytes(), (tmp_path / PREVIOUS).read_bytes()
    values = content.index(torch.full((8,), 2.0).numpy().tobytes())
    for place in range(values, values + 8000, 997):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / CURRENT).write_bytes(damaged)
        (tmp_path / PREVIOUS).write_bytes(previous)
        with pytest.warns(UserWarning, match="an earlier epoch"):
            assert loaded(tmp_path).epoch == 1


def test_two_changed_checkpoints_are_rejected(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_checkpoint(checkpoint(epoch), tmp_path)
    for name in (CURRENT, PREVIOUS):
        rewrite(tmp_path / name, best_dice=0.9)
    with pytest.raises(WeightsError, match=f"{CURRENT}: .*digest.*{PREVIOUS}: .*digest.*--overwrite"):
        load_checkpoint(tmp_path, IDENTITY)


def test_checkpoint_of_earlier_version_without_digest_is_loaded(tmp_path: Path) -> None:
    torch.save(vars(checkpoint(4)), tmp_path / CURRENT)
    assert loaded(tmp_path).epoch == 4


def test_temporary_files_of_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / f".{CURRENT}.0123.tmp").write_bytes(b"half")
    save_checkpoint(checkpoint(1), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {CURRENT}


def test_clear_removes_only_checkpoint_files(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(1), tmp_path)
    save_checkpoint(checkpoint(2), tmp_path)
    (tmp_path / f"{CURRENT}.tmp").write_bytes(b"torn")
    (tmp_path / f".{CURRENT}.0123.tmp").write_bytes(b"torn")
    (tmp_path / "history.csv").write_text("kept", encoding="utf-8")
    clear_checkpoints(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"history.csv"}
    clear_checkpoints(tmp_path)
