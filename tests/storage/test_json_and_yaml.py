"""JSON and YAML from users: read within limits, or rejected with one error that names the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taichinet.errors import FoldError, SettingError
from taichinet.storage import documents
from taichinet.storage.documents import parse_yaml, read_json, read_yaml


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"count": ' + b"9" * 5_000 + b"}", "cannot be read as JSON"),
        (b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        (b'{"a": "\xff"}', "cannot be read"),
        (b'{"a": "\\ud800"}', "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
    ],
)
def test_damaged_json_raises_the_requested_error_class(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(FoldError, match=reason) as caught:
        read_json(file, FoldError, "Delete it.")
    assert str(file) in str(caught.value)
    assert str(caught.value).endswith("Delete it.")
    assert len(str(caught.value)) < 500


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        *("!!bool q", "2024-99-99", "!!timestamp q", "!!float ''", "!!int ''", "!!int x", "!!set 3"),
        *("9" * 5_000, "[" * 50_000, "{a: 1, a: 2}", "[&x 1, *x]", "!!python/name:os.system", "{[1]: 2}", "\x00", "%q"),
    ],
    ids=lambda text: text[:20],
)
def test_damaged_yaml_raises_the_requested_error_class(text: str) -> None:
    with pytest.raises(SettingError, match=r"^name cannot be read as YAML \(") as caught:
        parse_yaml(text, "name", SettingError)
    assert len(str(caught.value)) < 500


def test_complete_document_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a": [1, 2.5, null, "é"]}', encoding="utf-8")
    assert read_json(tmp_path / "a") == read_yaml(tmp_path / "a") == {"a": [1, 2.5, None, "é"]}


@pytest.mark.timeout(20)
def test_pipe_and_too_large_file_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FoldError, match="is not a regular file"):
        read_json(tmp_path / "pipe", FoldError)
    monkeypatch.setattr(documents, "LARGEST_JSON", 10)
    (tmp_path / "a").write_text("[1, 2, 3, 4, 5]", encoding="utf-8")
    with pytest.raises(FoldError, match="has 15 bytes; the limit is 10"):
        read_json(tmp_path / "a", FoldError)
