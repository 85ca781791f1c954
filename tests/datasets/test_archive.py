"""Archives: unsafe member lists are rejected on opening, damaged members on reading."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from taichinet import runner
from taichinet.datasets import archive
from taichinet.datasets.archive import open_archive
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, 4_000, dtype=np.uint8).tobytes()
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def zipped(file: Path, *names: str, content: bytes = NOISE, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as written:
        for name in names:
            written.writestr(name, content)
    return file


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("//x", "unsafe name"),
        ("/x", "unsafe name"),
        ("images//x.png", "unsafe name"),
        ("../x", "unsafe name"),
        ("images/./x.png", "unsafe name"),
        ("a/" * 30_000 + "x", "has a name of 60001 characters"),
        ("a/" * 100 + "x", "is 101 folders deep"),
        ("images/a\nb.png", "control character"),
    ],
)
def test_unsafe_member_name_is_rejected_on_opening(tmp_path: Path, name: str, reason: str) -> None:
    file = zipped(tmp_path / "a.zip", name)
    with pytest.raises(DataError, match=reason) as caught:
        open_dataset(file)
    assert repr(name)[1:20].rstrip("'") in str(caught.value)
    assert len(str(caught.value)) < 500


def test_too_large_member_is_rejected_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_MEMBER", 2**20)
    file = zipped(tmp_path / "a.zip", "images/a.png", content=bytes(3 * 2**20))
    with pytest.raises(DataError, match=r"member 'images/a\.png' has 3 MiB or more; the limit is 1 MiB"):
        open_dataset(file)


@pytest.mark.parametrize("method", METHODS)
def test_reading_stops_if_a_member_is_larger_than_its_header_states(tmp_path: Path, method: int) -> None:
    file = zipped(tmp_path / "a.zip", "a", content=bytes(5 * 2**20), method=method)
    small = struct.pack("<L", 100)
    file.write_bytes(file.read_bytes().replace(struct.pack("<L", 5 * 2**20), small))
    with pytest.raises(DataError, match=r"a\.zip/a"):
        (open_archive(file) / "a").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_intact_member_is_read(tmp_path: Path, method: int) -> None:
    top = open_archive(zipped(tmp_path / "a.zip", "in/a", content=NOISE, method=method))
    assert (top / "in" / "a").read_bytes() == NOISE
    assert [entry.name for entry in top.iterdir()] == ["in"]


@pytest.mark.parametrize("method", METHODS)
def test_every_damaged_member_raises_data_error_with_its_name(tmp_path: Path, method: int) -> None:
    """Every fourth byte of the member's header and content is changed in turn."""
    intact = zipped(tmp_path / "whole.zip", "images/a.png", content=NOISE[:300], method=method).read_bytes()
    refused = 0
    for position in range(0, intact.index(b"PK\x01\x02"), 4):
        content = bytearray(intact)
        content[position] ^= 0xFF
        (tmp_path / "b.zip").write_bytes(content)
        try:
            read = (open_archive(tmp_path / "b.zip") / "images" / "a.png").read_bytes()
        except DataError as error:
            assert "b.zip" in str(error)  # noqa: PT017 (content that is not rejected must be unchanged)
            refused += 1
        else:
            assert read == NOISE[:300]
    assert refused > 50


def test_unsupported_method_and_encrypted_member_are_rejected_with_name(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "a.zip", "images/a.png").read_bytes())
    directory = content.index(b"PK\x01\x02")
    encrypted, method = bytearray(content), bytearray(content)
    encrypted[directory + 8] |= 1
    method[directory + 10] = 99
    for changed, reason in ((encrypted, "is encrypted"), (method, "is compressed by method 99")):
        (tmp_path / "b.zip").write_bytes(changed)
        with pytest.raises(DataError, match=rf"member 'images/a\.png' {reason}"):
            open_dataset(tmp_path / "b.zip")


def test_repeated_names_and_too_many_members_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = zipped(tmp_path / "a.zip", "images/a.png", "images/a.png")
    with pytest.raises(DataError, match=r"member 'images/a\.png' occurs twice"):
        open_archive(file)
    with pytest.raises(DataError, match="is a file and a folder"):
        open_archive(zipped(tmp_path / "b.zip", "images", "images/"))
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    with pytest.raises(DataError, match="has 3 members; the limit is 2"):
        open_archive(zipped(tmp_path / "c.zip", "1", "2", "3"))


def test_damaged_data_set_reports_every_damaged_member(tmp_path: Path) -> None:
    from fakes.busi import make_fake_busi

    root = make_fake_busi(tmp_path / "busi", benign=2, malignant=2, normal=2)
    with zipfile.ZipFile(tmp_path / "busi.zip", "w", zipfile.ZIP_DEFLATED) as written:
        for path in sorted(root.rglob("*.png")):
            written.write(path, path.relative_to(root.parent))
    content = bytearray((tmp_path / "busi.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "busi.zip") as read:
        info = next(entry for entry in read.infolist() if entry.filename.endswith("benign (1).png"))
    start = info.header_offset + 30 + len(info.filename)
    content[start : start + 20] = zlib.compress(b"other", 9)[:5] + bytes(15)
    (tmp_path / "busi.zip").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_dataset(f"busi={tmp_path / 'busi.zip'}")
    (problem,) = caught.value.problems
    assert "benign (1).png" in problem


@pytest.mark.timeout(20)
def test_pipe_is_not_a_data_set(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        open_dataset(tmp_path / "pipe")


@pytest.mark.parametrize("in_zip", [False, True])
def test_digest_rejects_a_file_above_the_size_limit_of_images(
    in_zip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "large.png"
    image.write_bytes(b"x" * 1001)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(image, "large.png")
    file = open_archive(tmp_path / "data.zip") / "large.png" if in_zip else image
    samples = (Sample("a", "benign", file, ()),)
    assert Manifest("x", samples).digest()
    monkeypatch.setattr(runner, "MOST_BYTES", 1000)
    for digest in (Manifest.digest, Manifest.content_digest, Manifest.image_digests):
        with pytest.raises(DataError, match=r"large\.png has more than 1000 bytes"):
            digest(Manifest("x", samples))
