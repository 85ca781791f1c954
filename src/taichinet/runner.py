"""Run a model exported with `taichinet export --format onnx`; requires only onnxruntime, numpy and Pillow, not torch.

    python -m taichinet.runner MODEL.onnx IMAGE... -o FOLDER

This file can be copied and used without the package. It also defines how image files are decoded
(docs/reference/image-files.md); `taichinet.datasets.image_io` uses the same functions. In Python,
`Model(path).segment(pixels)` takes an array.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

ImageFile = Any
"""A `pathlib.Path` or a `zipfile.Path`."""

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
"""Supported formats, detected from the content of a file and not from its name. PPM includes PBM and PGM."""

MOST_PIXELS = 2**25
"""Images with more pixels than this (8192 x 4096) in their header are refused before decoding."""

MOST_BYTES = 2**28
"""Files with more bytes than this are refused."""

DICOM_START = (b"DICM", 128)
"""The bytes by which a DICOM file is recognised, and their offset."""

_BLACK_IS_ONE = 0  # TIFF's PhotometricInterpretation "WhiteIsZero"
_ORIENTATION = 274
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339  # tags of TIFF
_ROWS = 256  # number of rows that are rescaled at a time, to limit the memory for float64 values
_WRITTEN_BY = ("Software", "taichinet runner")


class ImageError(ValueError):
    """An image file that cannot be read; the message names the file, the reason and the remedy."""


def read_content(source: ImageFile) -> bytes:
    """Read a file of at most MOST_BYTES.

    Returns:
        Content of the file.

    Raises:
        ImageError: The file does not exist, is empty, too large, not a regular file, or damaged in its zip file.
    """
    with _faults_named(source, "cannot be read ({}); check that it exists, is complete and may be read."):
        if source.exists() and not source.is_file():
            raise OSError("it is a folder" if source.is_dir() else "it is not a regular file")
        with source.open("rb") as stream:
            content: bytes = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ImageError(f"{source}: has more than the limit of {MOST_BYTES} bytes; save a smaller copy, or remove it.")
    if not content:
        raise ImageError(f"{source}: holds zero bytes; copy it again from the original.")
    return content


def open_image(source: ImageFile) -> Image.Image:
    """Open an image file and check its header, without decoding the pixels.

    Returns:
        The opened image.

    Raises:
        ImageError: The file has none of the FORMATS, has several pages, or has more than MOST_PIXELS.
    """
    content = read_content(source)
    try:
        with _faults_named(source):
            image = Image.open(BytesIO(content), formats=FORMATS)
            pages = getattr(image, "is_animated", False)
    except UnidentifiedImageError as fault:
        if content.startswith(*DICOM_START):
            raise ImageError(f"{source}: is a DICOM file; convert it to PNG (docs/segment/dicom.md).") from fault
        raise ImageError(
            f"{source}: is not an image, or has an unknown format; save it as PNG, JPEG or TIFF, or remove it. "
            f"Supported formats: {', '.join(FORMATS)}."
        ) from fault
    except Image.DecompressionBombError as fault:
        raise ImageError(_too_large(source, "more pixels than Pillow opens")) from fault
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ImageError(_too_large(source, f"{height} x {width} pixels"))
    if width < 1 or height < 1:
        raise ImageError(f"{source}: claims {height} x {width} pixels; copy it again from the original.")
    if pages:
        raise ImageError(f"{source}: holds several pages or frames; save each of them as a file of its own.")
    return image


def decode(source: ImageFile) -> tuple[Image.Image, bool]:
    """Decode an image file and apply its EXIF orientation.

    Returns:
        The image in Pillow's mode, and whether it has colour or transparency of which Pillow kept the upper 8 of 16
        bits.

    Raises:
        ImageError: As in `open_image`, or the pixels cannot be decoded.
    """
    image = open_image(source)
    with _faults_named(source):
        reduced = not image.mode.startswith(("I", "F")) and any(
            ";16" in str(tile[3]) for tile in getattr(image, "tile", [])
        )
        tags = getattr(image, "tag_v2", {})
        white_is_zero, unsigned = tags.get(_PHOTOMETRIC) == _BLACK_IS_ONE, tags.get(_SAMPLE_FORMAT, (1,)) in (1, (1,))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith(("I", "F")) and white_is_zero:
            raise ValueError("its highest value is black, which is supported only for 8 bits")
        if image.mode == "I" and tags and unsigned and np.asarray(image).min() < 0:
            raise ValueError("its values exceed 2147483647")
    return image, reduced


def eight_bit(source: ImageFile) -> Image.Image:
    """Decode an image file with 8 bits per channel, as described in docs/reference/image-files.md.

    Returns:
        The upright, opaque image in mode "L" or "RGB".

    Raises:
        ImageError: The file cannot be read.
    """
    return opaque(source, *decode(source))


def opaque(source: ImageFile, image: Image.Image, reduced: bool) -> Image.Image:
    """The image that `decode` returned as `eight_bit` returns it; `source` names the file in an ImageError."""
    with _faults_named(source):
        if image.mode.startswith(("I", "F")):
            return Image.fromarray(rescaled(source, np.asarray(image)))
        if reduced and np.asarray(image.convert("RGB")).max() < 64:
            raise ValueError("the upper 2 of its 16 bits per channel are unused; save it with 8 bits per channel")
        if image.has_transparency_data:
            colour = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour).convert("RGB")
        return image.convert("L" if image.mode in ("1", "L") else "RGB")


def orientation(source: ImageFile, image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image, 1 if it has none; raises ImageError, which names `source`."""
    with _faults_named(source):
        return int(image.getexif().get(_ORIENTATION, 1))


def rescaled(source: ImageFile, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert grey values of more than 8 bits to 0..255.

    Non-negative integers are assumed to have the smallest range of 8, 10, 12, 14, 16, ... bits that contains their
    maximum; the upper 8 bits are kept. Floats in 0..1 are multiplied by 255, others in 0..255 are rounded. All other
    values have no known range and are scaled from their minimum to their maximum.

    Args:
        source: The file, for messages.
        values: Integers or floats, (H, W).

    Returns:
        uint8 (H, W).

    Raises:
        ImageError: A value is not finite.
    """
    least, greatest = float(values.min()), float(values.max())
    if not np.isfinite([least, greatest]).all():
        raise ImageError(f"{source}: holds values that are not finite; save it with grey values in 0..255.")
    if np.issubdtype(values.dtype, np.integer) and least >= 0:
        bits = int(greatest).bit_length()
        return (values >> max(0, bits + bits % 2 - 8)).astype(np.uint8)
    if least >= 0 and greatest <= 255:
        least, factor = 0.0, 255.0 if greatest <= 1 else 1.0
    elif least == greatest:
        return np.full(values.shape, 255 if greatest > 0 else 0, dtype=np.uint8)
    else:
        factor = 255 / (greatest - least)
    grey = np.empty(values.shape, dtype=np.uint8)
    for top in range(0, len(values), _ROWS):
        grey[top : top + _ROWS] = np.round((values[top : top + _ROWS].astype(np.float64) - least) * factor)
    return grey


@contextmanager
def _faults_named(
    source: ImageFile, message: str = "is cut short or damaged ({}); copy it again from the original."
) -> Iterator[None]:
    """Convert every exception of a decoder to ImageError: for a damaged file, Pillow can raise any exception."""
    try:
        yield
    except (ImageError, UnidentifiedImageError, Image.DecompressionBombError):
        raise
    except MemoryError as fault:
        raise ImageError(f"{source}: needs more memory than is available; save a smaller copy.") from fault
    except Exception as fault:
        raise ImageError(f"{source}: {message.format(str(fault) or type(fault).__name__)}") from fault


def _too_large(source: ImageFile, claim: str) -> str:
    return (
        f"{source}: claims {claim}, more than the limit of {MOST_PIXELS} pixels (a decompression bomb?); "
        "save a smaller copy, or remove it."
    )


@dataclass(frozen=True)
class Segmentation:
    """Output for an image of H x W pixels: `mask`, uint8 (H, W), 0 or 255; `probability`, float32 (H, W) in [0, 1]."""

    mask: NDArray[np.uint8]
    probability: NDArray[np.float32]


def open_session(model: str | Path | bytes, threads: int = 0) -> Any:
    """Open the path or content of an ONNX file in ONNX Runtime on the CPU; `threads` is 0 for one per core."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # must be set before onnxruntime is imported
    import onnxruntime  # here, so that decoding images requires only numpy and Pillow

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Model:
    """An ONNX model exported with `taichinet export --format onnx`."""

    def __init__(self, model: str | Path | bytes, threads: int = 0) -> None:
        """Load a model.

        Args:
            model: Path or content of the ONNX file.
            threads: Number of threads; 0 for one per core.
        """
        self._session = open_session(model, threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        decision = json.loads(metadata.get("decision", "{}"))  # absent in files of earlier versions
        self._smallest_component = float(decision.get("smallest_component", 0))
        self._fill_holes = bool(decision.get("fill_holes", False))

    def segment(self, pixels: NDArray[np.uint8]) -> Segmentation:
        """Segment the lesion in an image.

        Args:
            pixels: uint8, (H, W), (H, W, 1) or RGB (H, W, 3), of any size from 1 x 1.

        Returns:
            Mask and probability at the resolution of the image.

        Raises:
            ValueError: `pixels` has another type or shape, or the output is not finite.
        """
        image = pixels[..., None] if pixels.ndim == 2 else pixels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
            raise ValueError(
                f"An image must be uint8, (height, width) or (height, width, 3), got {pixels.dtype} {pixels.shape}. "
                "Scale it to 0..255 and convert it to grey or RGB."
            )
        mask, probability = self._session.run(["mask", "probability"], {"image": image})
        if not np.isfinite(probability).all():
            raise ValueError("The model's output for this image is not finite, so there is no mask. Export it again.")
        return Segmentation(cleaned(mask, self._smallest_component, self._fill_holes), probability)


def cleaned(mask: NDArray[Any], smallest_component: float, fill_holes: bool) -> NDArray[np.uint8]:
    """Fill the holes of a mask, and remove its small components.

    Args:
        mask: (H, W), lesion where it is above 0.
        smallest_component: Components (8-neighbourhood) with a smaller share of the image area are removed.
        fill_holes: Whether background that does not touch the border of the image becomes 255.

    Returns:
        The mask, uint8 (H, W), 0 or 255.
    """
    lesion = mask > 0
    if fill_holes and lesion.any():
        labels = label_components(~lesion, diagonal=False)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        lesion |= ~np.isin(labels, border)
    if smallest_component and lesion.any():
        labels = label_components(lesion, diagonal=True)
        kept = np.bincount(labels.ravel()) >= smallest_component * lesion.size
        kept[0] = False  # the background
        lesion = kept[labels]
    return lesion.astype(np.uint8) * np.uint8(255)


def label_components(mask: NDArray[np.bool_], diagonal: bool) -> NDArray[np.int64]:
    """Label the connected components of `mask` (H, W) by numbers above 0, with gaps; 0 outside. SciPy is not needed.

    Runs of pixels of each row are joined with the runs of the row above that they touch, also diagonally if `diagonal`.
    """
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    parents = list(range(len(rows) + 1))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    reach = int(diagonal)
    first_of_row = np.searchsorted(rows, np.arange(len(mask) + 1)).tolist()
    begin, end = starts.tolist(), ends.tolist()
    for row in range(1, len(mask)):
        above, above_end = first_of_row[row - 1], first_of_row[row]
        for run in range(above_end, first_of_row[row + 1]):
            while above < above_end and end[above] + reach <= begin[run]:
                above += 1
            touching = above
            while touching < above_end and begin[touching] < end[run] + reach:
                parents[root(touching + 1)] = root(run + 1)
                touching += 1
    labels = np.zeros(mask.shape, dtype=np.int64)
    roots = np.array([root(run) for run in range(len(parents))])
    labels[mask] = np.repeat(roots[1:], ends - starts)
    return labels


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as described in docs/reference/image-files.md, or the array of a .npy file without conversion.

    Args:
        path: The file.

    Returns:
        uint8, (H, W) grey or (H, W, 3) RGB.

    Raises:
        ImageError: The file cannot be read.
    """
    if path.suffix.lower() not in (".npy", ".npz"):
        return np.array(eight_bit(path))
    content = read_content(path)
    with _faults_named(path):
        array = np.lib.format.read_array(BytesIO(content), allow_pickle=False)
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.size > 3 * MOST_PIXELS:
            raise ValueError(f"its array is {array.dtype} {array.shape}, not uint8 (height, width) or (..., 3)")
        return np.asarray(array)


def output_files(images: Sequence[Path], folder: Path) -> dict[Path, tuple[Path, Path]]:
    """Choose a unique name for the mask and the probability of every image, see `unique_names`.

    Args:
        images: The image files.
        folder: Output folder.

    Returns:
        Files of the mask and the probability of each image.

    Raises:
        FileExistsError: A file exists that was not written by this runner.
    """
    names = unique_names([(image, image.stem) for image in images])
    files = {image: (folder / f"{name}_mask.png", folder / f"{name}_probability.png") for image, name in names.items()}
    inputs = {image.resolve() for image in images}
    taken = [
        file
        for pair in files.values()
        for file in pair
        if file.resolve() in inputs or (os.path.lexists(file) and not has_mark(file, _WRITTEN_BY))
    ]
    if taken:
        raise FileExistsError(
            f"{taken[0]} exists and was not written by this runner. Nothing is overwritten: choose another folder for "
            f"-o, or move the file ({len(taken)} in all)."
        )
    return files


def unique_names(stems: Sequence[tuple[Path, str]]) -> dict[Path, str]:
    """Choose a unique name for the output files of every image.

    Args:
        stems: Each image and its preferred name. If several images have the same name, the suffix is appended (`a_png`,
            `a_jpg`), and then a number (`a_png_2`). Names are compared case-insensitively, because some file systems
            are case-insensitive.

    Returns:
        The name for each image.
    """
    shared = Counter(stem.casefold() for _, stem in stems)
    names: dict[Path, str] = {}
    used: set[str] = set()
    for image, stem in dict(stems).items():
        base = stem if shared[stem.casefold()] == 1 else f"{stem}_{image.suffix.removeprefix('.')}"
        name, number = base, 1
        while name.casefold() in used:
            number += 1
            name = f"{base}_{number}"
        used.add(name.casefold())
        names[image] = name
    return names


def has_mark(file: Path, mark: tuple[str, str]) -> bool:
    """Whether `file` is a PNG written by `png_bytes` with the same mark."""
    try:
        if not file.is_file():  # a FIFO would block
            return False
        with Image.open(file, formats=["PNG"]) as image:
            return bool(image.info.get(mark[0]) == mark[1])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def png_bytes(values: NDArray[np.uint8], mark: tuple[str, str], compression: int = -1) -> bytes:
    """Encode uint8 (H, W) as a grey PNG, or (H, W, 3) as RGB, with a text chunk `mark` (key, value)."""
    text = PngInfo()
    text.add_text(*mark)
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG", pnginfo=text, compress_level=compression)
    return buffer.getvalue()


def write_png(values: NDArray[np.uint8], path: Path) -> None:
    """Write uint8 (H, W) as a grey PNG, atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(png_bytes(values, _WRITTEN_BY))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def main(words: list[str] | None = None) -> int:
    """Segment all images of a command line.

    Args:
        words: Arguments of the command; those of the process by default.

    Returns:
        Exit code: 0 for success; 3 if all images failed or an output file cannot be written; 5 if the model cannot be
        opened; 7 if some images failed.
    """
    parser = argparse.ArgumentParser(prog="python -m taichinet.runner", description=str(__doc__).partition("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    arguments = parser.parse_args(words)
    try:
        files = output_files(arguments.images, arguments.output)
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        print(fault, file=sys.stderr)
        return 3
    try:
        model = Model(arguments.model, arguments.threads)
    except Exception as fault:  # noqa: BLE001 - the exceptions of onnxruntime have no common base class
        reason = str(fault).splitlines()[0] if arguments.model.is_file() else "the file does not exist"
        print(f"{arguments.model}: cannot be opened as an ONNX model ({reason}). Export it again.", file=sys.stderr)
        return 5
    failed = sum(not _segment_file(model, image, *targets) for image, targets in files.items())
    if failed == len(files):
        return 3
    return 7 if failed else 0


def _segment_file(model: Model, image: Path, mask: Path, probability: Path) -> bool:
    """Segment one image and write its two files; return False and print the reason to stderr if this fails."""
    try:
        output = model.segment(read_image(image))
        write_png(output.mask, mask)
        write_png(np.round(output.probability * np.float32(255)).astype(np.uint8), probability)
    except Exception as fault:  # noqa: BLE001 - a failing image must not stop the others
        print(fault if isinstance(fault, ImageError) else f"{image}: {fault!r}", file=sys.stderr)
        return False
    share = np.count_nonzero(output.mask) / output.mask.size
    print(f"{image}: lesion on {share:.1%} of the image, highest probability {output.probability.max():.3f}")
    return True


if __name__ == "__main__":
    sys.exit(main())
