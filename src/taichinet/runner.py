"""A runner for files of `taichinet export --format onnx` that needs onnxruntime and numpy alone: no torch, no Pillow.

    python -m taichinet.runner MODEL.onnx IMAGE... -o FOLDER

This file stands alone: it may be copied out of the package. It reads PNG (8 and 16 bits, grey or colour, not
interlaced), PGM and PPM (binary), and .npy arrays by itself, and what else Pillow knows where Pillow is installed. In
programs, `Model(path).segment(pixels)` takes an array, however it was decoded.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it is read when onnxruntime is imported
import onnxruntime
from numpy.typing import NDArray

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_MOST_PIXELS = 2**26


@dataclass(frozen=True)
class Segmentation:
    """Of an image of H x W pixels: `mask` uint8 (H, W), 0 and 255; `probability` float32 (H, W) in [0, 1]."""

    mask: NDArray[np.uint8]
    probability: NDArray[np.float32]


class Model:
    """A file of `taichinet export --format onnx`, opened."""

    def __init__(self, model: str | Path | bytes, threads: int = 0) -> None:
        """`model` is the file or its content; `threads` 0 is one a core."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
        )

    def segment(self, pixels: NDArray[np.uint8]) -> Segmentation:
        """The lesion in uint8 `pixels`, (H, W), (H, W, 1) or (H, W, 3) RGB, of any size from 1 x 1."""
        image = pixels[..., None] if pixels.ndim == 2 else pixels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
            raise ValueError(
                f"An image must be uint8, (height, width) or (height, width, 3), got {pixels.dtype} {pixels.shape}. "
                "Scale it to 0..255 and convert it to grey or RGB."
            )
        mask, probability = self._session.run(["mask", "probability"], {"image": image})
        return Segmentation(mask, probability)


def read_image(path: Path) -> NDArray[np.uint8]:
    """The image as uint8 (H, W) or (H, W, 3); transparency becomes black, 16 bits keep their upper eight.

    Raises ValueError for what cannot be read.
    """
    if path.suffix.lower() == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    content = path.read_bytes()
    try:
        if content[:8] == _PNG:
            return _read_png(content)
        if content[:2] in (b"P5", b"P6"):
            return _read_netpbm(content)
    except _UnsupportedError as reason:
        return _with_pillow(path, str(reason))
    except (IndexError, ValueError, struct.error, zlib.error) as fault:
        raise ValueError(f"{path}: is cut short or damaged ({fault}); copy it again from the original.") from fault
    return _with_pillow(path, "it is no PNG, PGM, PPM or .npy")


class _UnsupportedError(Exception):
    """A kind of file that this runner does not decode by itself."""


def _with_pillow(path: Path, reason: str) -> NDArray[np.uint8]:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ValueError(f"{path}: {reason}. Save it as PNG, or install Pillow, which this runner then uses.") from None
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                colour = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
            return np.array(upright.convert("L" if upright.mode in ("1", "L") else "RGB"))
    except (OSError, SyntaxError) as fault:
        raise ValueError(f"{path}: cannot be read ({fault}); save it as PNG.") from fault


def _read_png(content: bytes) -> NDArray[np.uint8]:
    """PNG specification, third edition: chunks (5), filters (9)."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content[16:29])
    if width * height > _MOST_PIXELS:
        raise ValueError(f"it claims {height} x {width} pixels")
    packed, transparent, at = b"", False, 8
    while True:
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"IDAT":
            packed += content[at + 8 : at + 8 + length]
        transparent |= kind in (b"tRNS", b"eXIf")
        if kind == b"IEND":
            break
        at += 12 + length
    if depth not in (8, 16) or colour not in _PNG_CHANNELS or interlaced or transparent:
        raise _UnsupportedError("its kind of PNG (palette, fewer than 8 bits, interlaced, turned) is not decoded here")
    channels, octets = _PNG_CHANNELS[colour], depth // 8
    step = channels * octets
    stream = zlib.decompress(packed)
    lines = np.frombuffer(stream, dtype=np.uint8)[: height * (1 + width * step)].reshape(height, 1 + width * step)
    pixels = _unfilter(lines[:, 0], lines[:, 1:], step).reshape(height, width, channels, octets)[..., 0]
    if channels in (2, 4):
        alpha = pixels[..., -1:].astype(np.uint16)
        pixels = ((pixels[..., :-1] * alpha + 127) // 255).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _unfilter(kinds: NDArray[np.uint8], lines: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Undo the filter of every line, (H, W * step) uint8; a pixel has `step` octets."""
    pixels = lines.reshape(len(lines), -1, step).astype(np.int32)
    above = np.zeros_like(pixels[0])
    for kind, line in zip(kinds, pixels, strict=True):
        if kind == 1:
            line[:] = np.cumsum(line, axis=0) & 255
        elif kind == 2:
            line[:] = (line + above) & 255
        elif kind in (3, 4):
            _unfilter_by_pixel(int(kind), line, above)
        elif kind:
            raise ValueError(f"there is no filter {kind}")
        above = line
    return pixels.astype(np.uint8)


def _unfilter_by_pixel(kind: int, line: NDArray[np.int32], above: NDArray[np.int32]) -> None:
    """Average (3) and Paeth (4) need the pixel to the left: a loop over plain integers, faster than tiny arrays."""
    for channel in range(line.shape[1]):
        up = above[:, channel].tolist()
        values = line[:, channel].tolist()
        left = corner = 0
        for i, value in enumerate(values):
            if kind == 3:
                guess = (left + up[i]) // 2
            else:
                to_left, to_up = abs(up[i] - corner), abs(left - corner)
                to_corner = abs(left + up[i] - 2 * corner)
                nearest = min(to_left, to_up, to_corner)  # in this order where two are as near
                guess = left if to_left == nearest else up[i] if to_up == nearest else corner
            left = values[i] = (value + guess) & 255
            corner = up[i]
        line[:, channel] = values


def _read_netpbm(content: bytes) -> NDArray[np.uint8]:
    """Binary PGM (P5) and PPM (P6)."""
    words: list[bytes] = []
    at = 0
    while len(words) < 4:
        end = at
        while not content[end : end + 1].isspace():
            if content[end : end + 1] == b"#":
                end = content.index(b"\n", end)
                at = end
                break
            if end >= len(content):
                raise ValueError("its header is cut short")
            end += 1
        if end > at:
            words.append(content[at:end])
        at = end + 1
    width, height, greatest = (int(word) for word in words[1:])
    if greatest != 255:
        raise _UnsupportedError(f"its greatest value is {greatest}, not 255")
    shape = (height, width) if words[0] == b"P5" else (height, width, 3)
    return np.frombuffer(content, dtype=np.uint8, count=int(np.prod(shape)), offset=at).reshape(shape).copy()


def write_png(values: NDArray[np.uint8], path: Path) -> None:
    """Write uint8 (H, W) as a grey PNG."""
    height, width = values.shape
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), values], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    written = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(_PNG + b"".join(written))


def main(words: list[str] | None = None) -> int:
    """Segment every image; exit code 0, or 7 where some could not be read."""
    parser = argparse.ArgumentParser(prog="python -m taichinet.runner", description=str(__doc__).partition("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    arguments = parser.parse_args(words)
    model = Model(arguments.model, arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in arguments.images:
        try:
            found = model.segment(read_image(path))
        except (OSError, ValueError) as fault:
            print(f"{path}: {fault}" if isinstance(fault, OSError) else fault, file=sys.stderr)
            failed += 1
            continue
        write_png(found.mask, arguments.output / f"{path.stem}_mask.png")
        probability = np.round(found.probability * np.float32(255)).astype(np.uint8)
        write_png(probability, arguments.output / f"{path.stem}_probability.png")
        share = np.count_nonzero(found.mask) / found.mask.size
        print(f"{path}: lesion on {share:.1%} of the image, highest probability {found.probability.max():.3f}")
    return 7 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
