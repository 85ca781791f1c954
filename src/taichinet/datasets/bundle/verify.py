"""Compares a bundle with the original data set."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from taichinet.datasets.archive import open_archive
from taichinet.datasets.bundle.read import is_bundle, read_bundle, read_record
from taichinet.datasets.bundle.record import BundleRecord, SampleRecord, SelectionRecord
from taichinet.datasets.bundle.write import Bundle, make_bundle
from taichinet.datasets.catalogue import split_spec
from taichinet.errors import DataError

_SHOWN = 3  # keys in a message


def verify_bundle(path: Path, original: Path | str) -> BundleRecord:
    """Compare every image, mask, thumbnail, group of near-duplicates and fold plan of a bundle with the original.

    Args:
        path: The bundle.
        original: The data set, a path or NAME=PATH.

    Returns:
        The description of the bundle.

    Raises:
        DataError: The bundle or the original cannot be read, or they differ. All kinds of differences are named.
    """
    if not is_bundle(path):
        raise DataError(
            f"{path} does not exist, is cut short, or is not a bundle. Pass a file that `taichinet data bundle` wrote."
        )
    record = read_record(path)
    read_bundle(path, record.dataset)  # verifies the digest of every member
    dataset, _ = split_spec(original)
    if dataset.name != record.dataset:
        raise DataError(f"{path} is a bundle of {record.dataset}, but {original} is {dataset.name}. Pass the original.")
    expected = make_bundle(original, record.size, record.channels)
    differences = [*_record_differences(record, expected.record), *_member_differences(path, record, expected)]
    if differences:
        raise DataError(
            f"{path} differs from {original}. Make the bundle again with `taichinet data bundle`, or pass the data set "
            "from which it was made:",
            differences,
        )
    return record


def _record_differences(record: BundleRecord, expected: BundleRecord) -> Iterator[str]:
    by_key = {sample.key: sample for sample in record.samples}
    wanted = {sample.key: sample for sample in expected.samples}
    yield from _listed("images that the original does not contain", [key for key in by_key if key not in wanted])
    yield from _listed("images that the bundle does not contain", [key for key in wanted if key not in by_key])
    for name in SampleRecord.model_fields:
        changed = [k for k, s in wanted.items() if k in by_key and getattr(by_key[k], name) != getattr(s, name)]
        yield from _listed(f"images with another '{name}'", changed)
    if list(by_key) != list(wanted) and by_key.keys() == wanted.keys():
        yield "the order of the images"
    if record.nested != expected.nested:
        yield f"whether the regions are nested: {record.nested}, not {expected.nested}"
    if record.regions != expected.regions:
        yield f"the regions: {', '.join(record.regions)}, not {', '.join(expected.regions)}"
    for title, one, other in (
        ("with all images", record.complete, expected.complete),
        ("without normal images", record.lesions, expected.lesions),
    ):
        if (one is None) != (other is None):
            yield f"the selection {title}"
        elif one is not None and other is not None:
            names = [name for name in SelectionRecord.model_fields if getattr(one, name) != getattr(other, name)]
            yield from (f"the '{name}' of the selection {title}" for name in names)


def _member_differences(path: Path, record: BundleRecord, expected: Bundle) -> Iterator[str]:
    """Members with other values. Equal values may be compressed differently by another version of a library."""
    names = record.members.keys() | expected.members.keys()
    changed = []
    for name in sorted(names):
        if record.members.get(name) != expected.record.members.get(name):
            stored = _member(path, name) if name in record.members else None
            made = expected.members.get(name)
            if stored is None or made is None or not np.array_equal(_values(name, stored), _values(name, made)):
                changed.append(name)
    pillow = (
        "" if record.pillow == expected.record.pillow else f" (Pillow {record.pillow}, here {expected.record.pillow})"
    )
    yield from _listed(f"members with other values{pillow}", changed)


def _member(path: Path, name: str) -> bytes:
    return (open_archive(path) / name).read_bytes()


def _values(name: str, content: bytes) -> np.ndarray:
    if name.endswith(".png"):
        return np.asarray(Image.open(BytesIO(content), formats=["PNG"]))
    return np.asarray(np.lib.format.read_array(BytesIO(content), allow_pickle=False))


def _listed(what: str, keys: list[str]) -> Iterator[str]:
    if keys:
        more = ", ..." if len(keys) > _SHOWN else ""
        yield f"{len(keys)} {what}: {', '.join(keys[:_SHOWN])}{more}"
