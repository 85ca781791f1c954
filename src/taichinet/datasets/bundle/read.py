"""Reads a bundle as the manifest of the original data set, with its keys, digests, masks and resized images."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources.abc import Traversable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from taichinet import runner
from taichinet.datasets.archive import Member, open_archive
from taichinet.datasets.bundle.record import (
    RECORD_FILE,
    THUMBNAILS_FILE,
    BundleRecord,
    SampleRecord,
    image_name,
    mask_name,
)
from taichinet.datasets.decoded import DECODING_THREADS, DecodedFiles
from taichinet.datasets.duplicates.fingerprint import THUMBNAIL_SIDE, Fingerprint, FloatArray
from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.image_io import RECIPE, Header
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.sample import Mask, MaskRule, Sample
from taichinet.errors import DataError
from taichinet.progress import tracked
from taichinet.storage.digest import digest_bytes
from taichinet.storage.documents import read_json, shortened

REMEDY = "Copy the bundle again, or make it again with `taichinet data bundle`."


class BundledFile(Member):
    """An image or mask file of the original data set, whose content is not in the bundle; it cannot be opened."""

    def exists(self) -> bool:
        """True, so that opening it gives the reason."""
        return True

    def is_file(self) -> bool:
        """True."""
        return True

    def read_bytes(self) -> bytes:
        """Raise ImageError with the reason and the remedy."""
        raise runner.ImageError(
            f"{self}: a bundle has images at input resolution and united masks, not the original files; pass the "
            "original data set."
        )

    def open(self, mode: str = "r", *args: Any, **options: Any) -> Any:
        """Raise ImageError with the reason and the remedy."""
        return self.read_bytes()


class BundledFiles(DecodedFiles):
    """What `DecodedFiles` keeps of the files of a data set, read from a bundle.

    Digests, sizes and thumbnails are those of the original files. Images are available at one size.
    """

    def __init__(self, path: Path, top: Member, record: BundleRecord, include_normal: bool) -> None:
        """Read the thumbnails, and describe the original files of the selected samples.

        Args:
            path: The bundle.
            top: The top folder of the opened bundle.
            record: Its description.
            include_normal: Whether to include normal images.

        Raises:
            DataError: The thumbnails are damaged.
        """
        super().__init__()
        self.bundle = path
        self.pillow = record.pillow
        self.selection = record.selection(include_normal)
        self._top, self._record = top, record
        self._numbers: dict[Traversable, int] = {}
        thumbnails = self._thumbnails()
        self.samples = tuple(
            self._sample(number, sample, thumbnails[number]) for number, sample in record.selected(include_normal)
        )

    def plan(self, protocol: str, seed: int, count: int) -> FoldPlan | None:
        """The fold plan of the bundle for these settings, or None; an official split has its own seed and count."""
        for plan in self.selection.plans:
            if plan.protocol == protocol and plan.seed == seed and (protocol == "official" or plan.count == count):
                return plan
        return None

    def refuse_other_input(self, size: int, channels: int) -> None:
        """Raise DataError unless the images of the bundle have this size and number of channels."""
        have = (self._record.size, self._record.channels)
        if (size, channels) != have:
            raise DataError(
                f"{self.bundle} has {_input(*have)}, but {_input(size, channels)} are needed. Pass the original data "
                f"set, make a bundle with {_options(size, channels)}, or use a recipe for {have[0]} px."
            )

    def take_resized(self, file: Traversable, size: int, channels: int) -> NDArray[np.uint8]:
        """An image at the size of the bundle, (S, S) or (S, S, 3); raises DataError if it is damaged."""
        self.refuse_other_input(size, channels)
        shape = (size, size) if channels == 1 else (size, size, 3)
        return self._decode_member(image_name(self._numbers[file]), "L" if channels == 1 else "RGB", shape)

    def image(self, file: Traversable) -> NDArray[np.uint8]:
        """An image as it is in the bundle, (S, S) or (S, S, 3); raises DataError if it is damaged."""
        return self.take_resized(file, self._record.size, self._record.channels)

    def united_mask(self, sample: Sample, region: int = 0) -> NDArray[np.bool_]:
        """The mask of one region of a sample, bool (H, W); raises DataError if it is damaged."""
        name, size = mask_name(self._numbers[sample.image], region), self.header(sample.image).size
        if name not in self._record.members:
            return np.zeros(size, dtype=np.bool_)
        return self._decode_member(name, "1", size)

    def problems_in(self, image: Traversable | None, masks: Iterable[Mask]) -> list[str]:
        """Decode the members of the sample with `image`; one line per fault."""
        if image is None:
            return []
        problems: list[str] = []
        sample = Sample("", "", image, tuple(masks))
        try:
            self.image(image)
        except DataError as fault:
            problems.append(str(fault))
        for region in range(len(self._record.regions)):
            try:
                self.united_mask(sample, region)
            except DataError as fault:
                problems.append(str(fault))
        return problems

    def _sample(self, number: int, sample: SampleRecord, thumbnail: FloatArray) -> Sample:
        def original(name: str, digest: str) -> BundledFile:
            file = BundledFile(self._top.root, name)
            self._digests[file] = bytes.fromhex(digest)
            self._headers[file] = Header((sample.height, sample.width))
            return file

        image = original(sample.key, sample.file)
        self._numbers[image] = number
        self._fingerprints[image] = Fingerprint((sample.height, sample.width), sample.pixels, thumbnail, None)
        masks = tuple(
            Mask(original(f"{sample.key}, mask {i}", mask.file), mask.region, MaskRule(mask.low, mask.high))
            for i, mask in enumerate(sample.masks)
        )
        return Sample(sample.key, sample.label, image, masks, sample.patient, sample.part, sample.fold)

    def _decode_member(self, name: str, mode: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The pixels of a PNG member of the given mode and shape."""
        content = self._read_member(name)
        try:
            image = runner.decode(_Content(str(self._top / name), content))[0]
        except runner.ImageError as fault:
            raise DataError(str(fault)) from fault
        pixels = np.array(image)
        if image.mode != mode or pixels.shape != shape:
            raise DataError(
                f"{self._top / name} has mode {image.mode} and shape {pixels.shape}, not {mode} and {shape}. {REMEDY}"
            )
        return pixels

    def _thumbnails(self) -> FloatArray:
        content, shape = self._read_member(THUMBNAILS_FILE), (len(self._record.samples), THUMBNAIL_SIDE**2)
        try:
            rows = np.lib.format.read_array(BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, MemoryError, OverflowError) as fault:
            raise DataError(f"{self._top / THUMBNAILS_FILE} cannot be read ({fault}). {REMEDY}") from fault
        if rows.dtype != np.float32 or rows.shape != shape or not np.isfinite(rows).all():
            raise DataError(f"{self._top / THUMBNAILS_FILE} does not have finite float32 values {shape}. {REMEDY}")
        return rows

    def _read_member(self, name: str) -> bytes:
        member = self._top / name
        if name not in self._record.members:
            raise DataError(f"{member} is not listed in {RECORD_FILE}. {REMEDY}")
        content = member.read_bytes()
        if digest_bytes(content) != self._record.members[name]:
            raise DataError(f"{member} does not have the SHA-256 recorded in {RECORD_FILE}. {REMEDY}")
        return content


class _Content:
    """The content of a member, as a file for `runner.decode`."""

    def __init__(self, name: str, content: bytes) -> None:
        self._name, self._content = name, content

    def __str__(self) -> str:
        return self._name

    def exists(self) -> bool:
        return True

    def is_file(self) -> bool:
        return True

    def open(self, mode: str) -> BytesIO:
        return BytesIO(self._content)


def is_bundle(path: Path) -> bool:
    """Whether `path` is a zip file with a `bundle.json` at its top; False if it cannot be opened."""
    if not path.is_file():
        return False
    try:
        return (open_archive(path) / RECORD_FILE).is_file()
    except DataError:
        return False


def read_record(path: Path) -> BundleRecord:
    """Read and validate the description of a data set in a bundle.

    Args:
        path: A bundle.

    Returns:
        The description.

    Raises:
        DataError: The file is damaged or of another version, or a value has another type or is out of range.
    """
    return _read_record(open_archive(path))


def _read_record(top: Member) -> BundleRecord:
    file = top / RECORD_FILE
    raw = read_json(file, DataError, REMEDY)
    try:
        record = BundleRecord.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = shortened(".".join(map(str, first["loc"])))
        raise DataError(f"{file} is not the description of a bundle ({place}: {first['msg']}). {REMEDY}") from error
    if record.preparation != RECIPE:
        raise DataError(
            f"{file}: its images were resized by rule {record.preparation}, but this version of taichinet uses rule "
            f"{RECIPE}. Make the bundle again with `taichinet data bundle`."
        )
    return record


def refuse_different_inputs(paths: Iterable[Path], size: int, channels: int) -> None:
    """Raise DataError if several of the data sets are bundles with images of different size or number of channels.

    Args:
        paths: The data sets to join.
        size: Size that is needed, for the remedy.
        channels: Number of channels that is needed.
    """
    records = {path: read_record(path) for path in paths if is_bundle(path)}
    inputs = {path: (record.size, record.channels) for path, record in records.items()}
    if len(set(inputs.values())) > 1:
        raise DataError(
            "Bundles can be joined only if their images have the same size and number of channels. The recipe needs "
            f"{_input(size, channels)}. Make the other bundles again with {_options(size, channels)}, or pass the "
            "original data sets:",
            [f"{path} has {_input(*have)}" for path, have in inputs.items()],
        )


def read_bundle(path: Path, name: str, include_normal: bool = True, verify: bool = True) -> Manifest:
    """Read a bundle.

    Args:
        path: A bundle.
        name: Name of the data set that it should contain.
        include_normal: Whether to include normal images.
        verify: Whether to decode every member.

    Returns:
        The samples with the identities of the original files, in the same order.

    Raises:
        DataError: The bundle is of another data set or damaged. All damaged members are named.
    """
    top = open_archive(path)
    record = _read_record(top)
    if record.dataset != name:
        raise DataError(
            f"{path} is a bundle of data set {record.dataset}, not of {name}. Pass {record.dataset}={path}."
        )
    files = BundledFiles(path, top, record, include_normal)
    if verify:
        with ThreadPoolExecutor(max_workers=DECODING_THREADS) as pool:
            faults = pool.map(lambda sample: files.problems_in(sample.image, sample.masks), files.samples)
            checked = tracked(faults, f"reading {path.name}", len(files.samples))
            problems = [problem for of_sample in checked for problem in of_sample]
        if problems:
            raise DataError(f"{path} is damaged: {len(problems)} of its members cannot be read. {REMEDY}", problems)
    chosen = files.selection
    return Manifest(
        name=record.dataset,
        samples=files.samples,
        regions=record.regions,
        left_out=chosen.left_out,
        normal_left_out=chosen.normal_left_out,
        nested=record.nested,
        files=files,
    )


def _input(size: int, channels: int) -> str:
    return f"{'grey' if channels == 1 else 'RGB'} images of {size} px"


def _options(size: int, channels: int) -> str:
    return f"--size {size} {'--grey' if channels == 1 else '--colour'}"
