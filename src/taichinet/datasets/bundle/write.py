"""Writes a bundle: everything that a training and its scores need of a data set, see `record.py` for the format."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taichinet.datasets.bundle.record import (
    FORMAT_VERSION,
    LARGEST_SIDE,
    MARK,
    MOST_IMAGES,
    README_FILE,
    RECORD_FILE,
    THUMBNAILS_FILE,
    BundleRecord,
    MaskRecord,
    SampleRecord,
    SelectionRecord,
    image_name,
    mask_name,
)
from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.dataset import Dataset
from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.duplicates.fingerprint import Fingerprint
from taichinet.datasets.duplicates.search import match_fingerprints
from taichinet.datasets.folds import PROTOCOLS, FoldPlan, make_folds
from taichinet.datasets.image_io import RECIPE
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError, FoldError, SettingError
from taichinet.progress import tracked
from taichinet.storage.atomic import replacing
from taichinet.storage.digest import digest_bytes
from taichinet.version import __version__


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle: its description, and its images, masks and thumbnails by name of the member."""

    record: BundleRecord
    members: dict[str, bytes]


def make_bundle(data: Path | str, size: int, channels: int) -> Bundle:
    """Read a data set and collect the content of its bundle; each file is decoded once.

    Args:
        data: A path, or NAME=PATH.
        size: Input resolution in pixels.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        The content.

    Raises:
        DataError: The data set has faults, is a bundle itself, or has too many images.
        SettingError: `size` is out of range.
    """
    if not 1 <= size <= LARGEST_SIDE:
        raise SettingError(f"size = {size}, but it must be in 1 to {LARGEST_SIDE}.")
    dataset, root = split_spec(data)
    files = DecodedFiles(size, channels)
    files.keep_reduced()
    manifest = dataset.read(root, files=files)
    manifest.files.require_originals("another bundle")
    if len(manifest.samples) > MOST_IMAGES:
        raise DataError(f"{root} has {len(manifest.samples)} images; a bundle may have {MOST_IMAGES}. Divide it.")
    samples = tracked(manifest.samples, "comparing images")
    fingerprints = {sample.key: files.take_whole_fingerprint(sample.image) for sample in samples}
    members = {THUMBNAILS_FILE: _npy(np.stack([f.thumbnail for f in fingerprints.values()]))}
    for number, sample in enumerate(tracked(manifest.samples, "packing images")):
        members[image_name(number)] = _png(files.take_resized(sample.image, size, channels))
        for region in range(len(manifest.regions)):
            mask = files.united_mask(sample, region)
            if mask.any():
                members[mask_name(number, region)] = _png(mask)
    lesions = dataset.read(root, include_normal=False, verify=False, files=files) if dataset.has_normal else None
    record = BundleRecord(
        format="taichinet bundle",
        version=FORMAT_VERSION,
        dataset=dataset.name,
        title=dataset.title,
        licence=dataset.licence,
        source=dataset.source,
        citation=dataset.citation,
        size=size,
        channels=1 if channels == 1 else 3,
        preparation=RECIPE,
        pillow=files.pillow,
        taichinet=__version__,
        regions=manifest.regions,
        nested=manifest.nested,
        samples=tuple(_describe(sample, files, fingerprints[sample.key]) for sample in manifest),
        complete=_select(dataset, root, manifest, manifest, fingerprints),
        lesions=None if lesions is None else _select(dataset, root, manifest, lesions, fingerprints),
        members={name: digest_bytes(content) for name, content in members.items()},
    )
    return Bundle(record, members)


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle as a zip file; equal content gives equal bytes.

    Args:
        bundle: The content.
        path: The file.

    Raises:
        StorageError: The file cannot be written. An earlier file is unchanged.
    """
    # Without `nested` if it is the default, since earlier versions do not know it.
    plain = bundle.record.model_dump(mode="json", exclude={"nested"} if bundle.record.nested else None)
    record = json.dumps(plain, ensure_ascii=False).encode()
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, README_FILE, _readme(bundle.record).encode(), zipfile.ZIP_STORED)
        _add(archive, RECORD_FILE, record, zipfile.ZIP_DEFLATED)
        for name, content in bundle.members.items():
            is_png = name.endswith(".png")  # compressed already
            _add(archive, name, content, zipfile.ZIP_STORED if is_png else zipfile.ZIP_DEFLATED)


def _add(archive: zipfile.ZipFile, name: str, content: bytes, method: int) -> None:
    archive.writestr(zipfile.ZipInfo(name), content, method, 9)  # ZipInfo has a fixed date


def _describe(sample: Sample, files: DecodedFiles, fingerprint: Fingerprint) -> SampleRecord:
    masks = [
        MaskRecord(region=mask.region, low=mask.rule.low, high=mask.rule.high, file=files.digest(mask.file).hex())
        for mask in sample.masks
    ]
    height, width = fingerprint.shape
    return SampleRecord(
        key=sample.key,
        label=sample.label,
        patient=sample.patient,
        part=sample.part,
        fold=sample.fold,
        height=height,
        width=width,
        file=files.digest(sample.image).hex(),
        pixels=fingerprint.digest,
        masks=tuple(masks),
    )


def _select(
    dataset: Dataset, root: Path, manifest: Manifest, selected: Manifest, fingerprints: dict[str, Fingerprint]
) -> SelectionRecord:
    """The selection with the keys of `selected`, whose samples in `manifest` are decoded already."""
    same = manifest.subset(set(selected.keys))
    groups = match_fingerprints({key: fingerprints[key] for key in same.keys}, dataset.thresholds).groups
    return SelectionRecord(
        left_out=tuple(line.replace(f"{root}/", "") for line in selected.left_out),  # it may be a private folder
        normal_left_out=selected.normal_left_out,
        groups=groups,
        plans=tuple(_plans(same, groups)),
    )


def _plans(manifest: Manifest, groups: tuple[tuple[str, ...], ...]) -> list[FoldPlan]:
    """The fold plans of the recipes for each protocol that the data set supports."""
    plans = []
    for protocol in PROTOCOLS:
        try:
            plans.append(make_folds(manifest, groups, protocol))
        except FoldError:  # no official split, or too few images
            continue
    return plans


def _png(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=9)
    return content.getvalue()


def _npy(rows: NDArray[np.float32]) -> bytes:
    content = BytesIO()
    np.lib.format.write_array(content, rows, allow_pickle=False)
    return content.getvalue()


def _readme(record: BundleRecord) -> str:
    return (
        f"{MARK}: {record.title}, {len(record.samples)} images of {record.size} px, masks of the original size.\n"
        "Pass this file to the commands of taichinet in place of the data set.\n"
        "It contains images of the data set, so its terms of use apply.\n"
        f"Licence: {record.licence}\nSource: {record.source}\nCitation: {record.citation}\n"
    )
