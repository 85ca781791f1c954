"""Prediction for many files: reading and writing run in threads while the network computes.

A GPU computes a batch while the maps of the batch before are copied to the CPU and handed to the writers.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from taichinet.datasets import image_io as decoding
from taichinet.errors import DataError
from taichinet.inference.outputs import Journal, output_files, write_maps
from taichinet.inference.overlay import viewable
from taichinet.inference.predictor import MaskPrediction, NetworkInput, Predictor
from taichinet.inference.rows import Row
from taichinet.storage.digest import digest_file
from taichinet.training.one_ahead import one_ahead

BATCH_SIZE = 8
GPU_BATCH_SIZE = 64
WRITERS = 2  # with a small network, PNG compression is the slowest step: one writer would be the bottleneck

_NO_MEMORY = re.compile(
    r"can't allocate|fail\w* to allocate|out of memory|not enough memory|bad_?.?alloc", re.IGNORECASE
)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Measure = Callable[[], MaskPrediction]


class Plan(NamedTuple):
    """Images per batch, and numbers of threads. Two batches are decoded in advance: more would only use memory."""

    batch: int = BATCH_SIZE
    readers: int = 1
    writers: int = WRITERS

    @classmethod
    def for_device(cls, device: str) -> Plan:
        """The plan for a device: beside a GPU, the threads use all cores; writing takes 3 times as long as reading."""
        if not device.startswith("cuda"):
            return cls()
        import torch

        cores = torch.get_num_threads()
        readers = max(cores // 4, 1)
        return cls(GPU_BATCH_SIZE, readers, max(cores - readers, WRITERS))


@dataclass(frozen=True)
class _Read:
    """Result of reading a file.

    Attributes:
        file: The file.
        image: Image at network resolution, or an error.
        digest: Digest of the file.
        seconds: Time of reading.
        shown: Image for the overlay, whose size is limited; None for no overlay.
    """

    file: Path
    image: NetworkInput | str
    digest: str
    seconds: float
    shown: Image.Image | None = None


def predict_files(
    predictor: Predictor,
    names: Mapping[Path, str],
    output: Path,
    journal: Journal | None = None,
    overlay: bool = False,
) -> Generator[Row]:
    """Predict all files, write their maps, and yield one row per file.

    Threads decode and resize images in advance; others resize the maps to the original resolution, measure and write
    them (see `Plan`). BATCH_SIZE images are processed together, on a GPU GPU_BATCH_SIZE. If a file cannot be read, its
    maps cannot be written, or there is not enough memory for it, its row has the status "failed" and the other files
    are processed. Rounding may depend on the batch: probabilities may differ in the seventh digit from those of a
    single image.

    When resuming with a journal, its rows are yielded first, and batches without other images are skipped. The
    remaining batches have the same images as in an uninterrupted run, so that the results are identical.

    Args:
        predictor: Network and runtime.
        names: Name of the outputs of each image file.
        output: Folder for the maps.
        journal: Completed rows; new rows are added.
        overlay: Whether to write overlays too.

    Yields:
        One row per file.
    """
    done = dict(journal.rows) if journal else {}
    plan = Plan.for_device(predictor.device)
    with ThreadPoolExecutor(plan.readers, "read") as reader, ThreadPoolExecutor(plan.writers, "write") as writer:
        writing: deque[Future[Row]] = deque()

        def write(read: _Read, measure: _Measure | str, seconds: float) -> Row:
            earlier = done.get(str(read.file))
            return earlier or _write(read, measure, names[read.file], output, seconds, journal, predictor)

        files = list(names)
        groups = [files[start : start + plan.batch] for start in range(0, len(files), plan.batch)]
        pending = [file for group in groups if not all(str(file) in done for file in group) for file in group]
        yield from (done[str(file)] for file in names.keys() - set(pending))
        try:
            reads = _ahead(reader, partial(_read, predictor, overlay=overlay), pending, 2 * plan.batch)
            for launch in one_ahead(_Launch(predictor, batch) for batch in _batches(reads, plan.batch)):
                for read, measure, seconds in launch.measures():
                    writing.append(writer.submit(write, read, measure, seconds))
                while len(writing) > plan.batch:
                    yield writing.popleft().result()
        except KeyboardInterrupt:
            yield from _finished(writing)
            raise
        yield from _finished(writing)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item], count: int
) -> Iterator[_Result]:
    """Results of `work` for `items`, in order, computed in `pool` up to `count` items in advance."""
    begun: deque[Future[_Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > count:
                yield begun.popleft().result()
        yield from _finished(begun)
    finally:
        for future in begun:
            future.cancel()


def _finished(begun: deque[Future[_Result]]) -> Iterator[_Result]:
    while begun:
        yield begun.popleft().result()


def _batches(reads: Iterable[_Read], size: int) -> Iterator[list[_Read]]:
    """Batches of `size` items; after a keyboard interrupt, the items read so far."""
    batch: list[_Read] = []
    try:
        for read in reads:
            batch.append(read)
            if len(batch) == size:
                yield batch
                batch = []
    except KeyboardInterrupt:
        yield batch
        raise
    yield batch


def _read(predictor: Predictor, file: Path, overlay: bool = False) -> _Read:
    """Decode and resize `file`."""
    started = time.perf_counter()

    def work() -> tuple[NetworkInput, str, Image.Image | None]:
        pixels = decoding.read_grey(file) if predictor.channels == 1 else decoding.read_rgb(file)
        return predictor.prepare(pixels), digest_file(file), viewable(pixels) if overlay else None

    result = _attempt(file, work)
    image, digest, shown = (result, "", None) if isinstance(result, str) else result
    return _Read(file, image, digest, time.perf_counter() - started, shown)


class _Launch:
    """A batch that the network computes. On a GPU it is launched, and not waited for."""

    def __init__(self, predictor: Predictor, batch: Sequence[_Read]) -> None:
        started = time.perf_counter()
        self._predictor, self._batch = predictor, batch
        self._inputs = {read.file: read.image for read in batch if not isinstance(read.image, str)}
        self._maps = self._unless_too_large(lambda: predictor.launch(list(self._inputs.values())))
        self._seconds = time.perf_counter() - started

    def done(self) -> bool:
        return self._maps is None or self._maps.done()

    def measures(self) -> Iterator[tuple[_Read, _Measure | str, float]]:
        """Wait for the maps.

        Yields:
            For each file, a function that measures its maps, or an error; and its share of the network's run time.
        """
        started = time.perf_counter()
        measures: dict[Path, _Measure | str]
        measures = {read.file: read.image for read in self._batch if isinstance(read.image, str)}
        launched = self._maps
        maps = None if launched is None else self._unless_too_large(launched.maps)
        for row, (file, image) in enumerate(self._inputs.items()):
            if maps is None:  # single images may fit into memory
                measures[file] = _attempt(file, partial(self._measure_alone, image))
            else:
                measures[file] = partial(self._predictor.at_original_size, maps, row, image)
        seconds = (self._seconds + time.perf_counter() - started) / max(len(self._inputs), 1)
        for read in self._batch:
            yield read, measures[read.file], seconds

    def _measure_alone(self, image: NetworkInput) -> _Measure:
        return partial(self._predictor.at_original_size, self._predictor.network_maps([image]), 0, image)

    def _unless_too_large(self, work: Callable[[], _Result]) -> _Result | None:
        """The result of `work`; None if the batch is empty or does not fit into memory."""
        try:
            return work() if self._inputs else None
        except Exception as fault:
            if not is_out_of_memory(fault):
                raise
            return None


def is_out_of_memory(fault: Exception) -> bool:
    """Whether `fault` is an out-of-memory error of Python, NumPy, PyTorch (CPU or GPU) or a runtime.

    PyTorch's CPU allocator and the other runtimes have no specific exception type, so the message is searched.
    """
    return isinstance(fault, MemoryError) or _NO_MEMORY.search(str(fault)) is not None


def _attempt(file: Path, work: Callable[[], _Result]) -> _Result | str:
    """The result of `work`, or the message of an exception that only concerns `file`; others are bugs and raised."""
    try:
        return work()
    except Exception as fault:
        if is_out_of_memory(fault) and not isinstance(fault, DataError):
            reason = str(fault).partition("\n")[0]
            return f"{file}: there is not enough memory for this image ({reason}). Free memory, or save a smaller copy."
        if not isinstance(fault, (DataError, OSError)):
            raise
        message = str(fault) if isinstance(fault, DataError) else repr(fault)
        return message if message.startswith(str(file)) else f"{file}: {message}"


def _write(
    read: _Read,
    measure: _Measure | str,
    name: str,
    output: Path,
    seconds: float,
    journal: Journal | None,
    predictor: Predictor,
) -> Row:
    """Measure the maps, write them, and return the row of the file."""
    started = time.perf_counter()

    def took() -> float:
        return round(read.seconds + seconds + time.perf_counter() - started, 4)

    file = str(read.file)

    def work(measure: _Measure) -> Row:
        files = output_files(output, name)
        try:
            result = measure()
            written = write_maps(result, files, read.shown)
            row = _row(file, name, result, took(), predictor)
            if journal:
                journal.add(row, read.digest, written)
        except Exception:
            for path in files.values():  # do not leave maps without a row
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        return row

    row = measure if isinstance(measure, str) else _attempt(read.file, partial(work, measure))
    return Row(file, name, "failed", seconds=took(), error=row) if isinstance(row, str) else row


def _row(file: str, name: str, result: MaskPrediction, seconds: float, predictor: Predictor) -> Row:
    box = result.bounding_box
    return Row(
        file=file,
        name=name,
        status="done",
        height=result.mask.shape[0],
        width=result.mask.shape[1],
        lesion_pixels=result.lesion_pixels,
        area_share=result.area_share,
        components=result.components,
        box_top=None if box is None else box.top,
        box_left=None if box is None else box.left,
        box_bottom=None if box is None else box.bottom,
        box_right=None if box is None else box.right,
        max_probability=result.max_probability,
        mean_disagreement=result.mean_disagreement,
        seconds=seconds,
        device=predictor.device,
        presence=result.presence,
        presence_threshold=predictor.decision.presence,
    )
