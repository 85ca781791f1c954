"""A whole folder through one network: files are read ahead, measured and written behind while the network computes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from taichinet.datasets import image_io as decoding
from taichinet.errors import DataError
from taichinet.inference.outputs import Row, output_files, write_maps
from taichinet.inference.predictor import MaskPrediction, NetworkInput, Predictor

BATCH_SIZE = 8
WRITERS = 2  # compressing is most of the work around a small network: one writer would hold it up
READ_AHEAD = 2 * BATCH_SIZE  # images decoded before they are needed: more only holds memory

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Measure = Callable[[], MaskPrediction]


@dataclass(frozen=True)
class _Read:
    """A file that was read: its image at network size, or why there is none; and the seconds that took."""

    file: Path
    image: NetworkInput | None
    error: str | None
    seconds: float


def predict_files(predictor: Predictor, names: Mapping[Path, str], output: Path) -> Iterator[Row]:
    """A row for each file of `names`, in order; its maps are written to `output` under its name.

    One thread decodes and resizes ahead, WRITERS bring the maps to their size, measure and write them behind;
    BATCH_SIZE images pass the network together. A file that cannot be read, or whose maps cannot be written, fails
    alone. In a batch a network may round otherwise than alone: a probability may differ in its seventh digit.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(WRITERS, "write") as writer:
        writing: deque[Future[Row]] = deque()

        def read(file: Path) -> _Read:
            return _read(predictor, file, output_files(output, names[file]))

        try:
            for batch in _batches(_ahead(reader, read, names), BATCH_SIZE):
                for one, measure, seconds in _ask(predictor, batch):
                    writing.append(writer.submit(_write, one, measure, names[one.file], output, seconds))
                while len(writing) > BATCH_SIZE:
                    yield writing.popleft().result()
        except KeyboardInterrupt:
            yield from _finished(writing)
            raise
        yield from _finished(writing)


def _ahead(pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """What `work` gives for each of `items`, in order, begun up to READ_AHEAD items before it is asked for."""
    begun: deque[Future[_Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > READ_AHEAD:
                yield begun.popleft().result()
        yield from _finished(begun)
    finally:
        for future in begun:
            future.cancel()


def _finished(begun: deque[Future[_Result]]) -> Iterator[_Result]:
    while begun:
        yield begun.popleft().result()


def _batches(reads: Iterable[_Read], size: int) -> Iterator[list[_Read]]:
    """`size` at a time; where the user interrupts, first what was read before."""
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


def _read(predictor: Predictor, file: Path, targets: Mapping[str, Path]) -> _Read:
    """Remove an earlier run's maps of `file`, then decode and resize it; a fault becomes the error."""
    started = time.perf_counter()
    image, error = None, None
    try:
        for stale in targets.values():
            stale.unlink(missing_ok=True)
        pixels = decoding.read_grey(file) if predictor.channels == 1 else decoding.read_rgb(file)
        image = predictor.prepare(pixels)
    except DataError as fault:
        error = str(fault)
    except (OSError, MemoryError) as fault:
        error = f"{file}: {fault!r}"
    return _Read(file, image, error, time.perf_counter() - started)


def _ask(predictor: Predictor, batch: Sequence[_Read]) -> Iterator[tuple[_Read, _Measure | str, float]]:
    """Each of `batch` with what will measure its maps, or its error, and its share of the network's seconds."""
    started = time.perf_counter()
    inputs = [read.image for read in batch if read.image is not None]
    answers: Iterator[_Measure | str] = iter(())
    try:
        if inputs:
            maps = predictor.network_maps(inputs)
            answers = iter([partial(predictor.at_native_size, maps, row, image) for row, image in enumerate(inputs)])
    except MemoryError:  # one after the other they may fit
        answers = iter([_alone(predictor, image) for image in inputs])
    seconds = (time.perf_counter() - started) / max(len(inputs), 1)
    for read in batch:
        yield read, next(answers) if read.image is not None else str(read.error), seconds


def _alone(predictor: Predictor, image: NetworkInput) -> _Measure | str:
    try:
        return partial(predictor.at_native_size, predictor.network_maps([image]), 0, image)
    except MemoryError as fault:
        return repr(fault)


def _write(read: _Read, measure: _Measure | str, name: str, output: Path, seconds: float) -> Row:
    """Measure the maps and write them; the row of the file."""
    started = time.perf_counter()

    def took() -> float:
        return round(read.seconds + seconds + time.perf_counter() - started, 4)

    file = str(read.file)
    if isinstance(measure, str):
        error = measure if read.error is not None else f"{file}: {measure}"
        return Row(file, name, "failed", seconds=took(), error=error)
    try:
        result = measure()
        write_maps(result, output_files(output, name))
    except (OSError, MemoryError) as fault:
        return Row(file, name, "failed", seconds=took(), error=f"{file}: {fault!r}")
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
        seconds=took(),
    )
