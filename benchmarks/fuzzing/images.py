"""Targets that decode: images and masks, by the readers and by the runner."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fuzzing.mutations import mutate_bytes, mutate_png
from fuzzing.target import Case, Target, WrongValueError
from taichinet.datasets import image_io
from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.manifest import Mask
from taichinet.datasets.phantoms.phantom import make_phantom
from taichinet.errors import TaiChiNetError

_LOSSLESS = ("PNG", "BMP", "TIFF", "GIF", "PPM")
_ONLY_THE_RUNNER = (".pgm", ".ppm", ".npy")


def small_phantom(seed: int = 0, size: int = 24) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A grey image and its lesion, (size, size), cut from a phantom so that the lesion is in it."""
    phantom = make_phantom(np.random.default_rng(seed), "malignant", 64, 64)
    rows, columns = np.nonzero(phantom.lesion)
    top = min(max(int(rows.mean()) - size // 2, 0), 64 - size)
    left = min(max(int(columns.mean()) - size // 2, 0), 64 - size)
    part = np.s_[top : top + size, left : left + size]
    return phantom.image[part], phantom.lesion[part]


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    """The content of an image file."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def image_seeds() -> dict[str, bytes]:
    """Small images of every mode and format that is read, by file name."""
    grey, lesion = small_phantom()
    image = Image.fromarray(grey)
    colour = Image.fromarray(np.stack([grey, grey // 2, 255 - grey], axis=2))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    alpha = Image.merge("LA", (image, Image.fromarray(lesion.astype(np.uint8) * 255)))
    turned = Image.Exif()
    turned[274] = 6
    seeds = {
        "grey.png": encode(image, "PNG"),
        "rgb.png": encode(colour, "PNG"),
        "palette.png": encode(colour.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "alpha.png": encode(alpha, "PNG"),
        "rgba.png": encode(colour.convert("RGBA"), "PNG"),
        "bit.png": encode(image.convert("1"), "PNG"),
        "deep.png": encode(deep, "PNG"),
        "grey.jpg": encode(image, "JPEG"),
        "turned.jpg": encode(colour, "JPEG", exif=turned),
        "rgb.bmp": encode(colour, "BMP"),
        "grey.tif": encode(image, "TIFF"),
        "lzw.tif": encode(colour, "TIFF", compression="tiff_lzw"),
        "deep.tif": encode(deep, "TIFF"),
        "float.tif": encode(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "int32.tif": encode(Image.fromarray(grey.astype(np.int32) * 100), "TIFF"),
        "pages.tif": encode(image, "TIFF", save_all=True, append_images=[image, image]),
        "rgb.webp": encode(colour, "WEBP"),
        "grey.gif": encode(image, "GIF"),
        "grey.pgm": encode(image, "PPM"),
        "rgb.ppm": encode(colour, "PPM"),
    }
    buffer = BytesIO()
    np.save(buffer, grey)
    return {**seeds, "grey.npy": buffer.getvalue()}


def _make_image(seeds: dict[str, bytes], random: Random) -> Case:
    name = random.choice(list(seeds))
    content = seeds[name]
    if random.randrange(8) == 0:
        name = random.choice(list(seeds))  # a format under the name of another
    if content.startswith(b"\x89PNG") and random.randrange(2):
        return Case({name: mutate_png(random, content)})
    return Case({name: mutate_bytes(random, content, tuple(seeds.values()))})


def _check_image(folder: Path, case: Case) -> None:
    """Readers and runner give the same pixels, or both refuse the file."""
    from taichinet.runner import read_image

    path = folder / next(iter(case.files))
    ours: NDArray[np.uint8] | None = None
    theirs: NDArray[np.uint8] | None = None
    fault = ""
    try:
        theirs = read_image(path)
    except (TaiChiNetError, OSError, ValueError) as refusal:
        fault = str(refusal)
    try:
        grey = image_io.read_grey(path)
        ours = grey if theirs is None or theirs.ndim == 2 else image_io.read_rgb(path)
    except TaiChiNetError as refusal:
        known = case.files[path.name][:2] in (b"P5", b"P6") or path.suffix in _ONLY_THE_RUNNER
        if theirs is not None and not known:
            raise WrongValueError(f"the runner reads a file that the readers refuse: {refusal}") from refusal
        raise
    if theirs is None and path.suffix in _ONLY_THE_RUNNER:
        return  # which goes by the ending
    if theirs is None:
        raise WrongValueError(f"the readers read a file that the runner refuses: {fault}")
    if ours.shape != theirs.shape or not np.array_equal(ours, theirs):
        raise WrongValueError(f"readers and runner give other pixels ({ours.shape}, {theirs.shape})")


def _drawn_mask(random: Random) -> tuple[str, bytes]:
    """A mask of a random encoding, with the lesion at the value of that encoding."""
    size = random.choice((1, 3, 24))
    painted = np.zeros((size, size), dtype=np.bool_)
    if random.randrange(5):
        painted[random.randrange(size), : random.randrange(1, size + 1)] = True
    value = random.choice((1, 2, 3, 60, 127, 128, 254, 255))
    name = random.choice(("m.png", "m.tif", "m.bmp"))
    form = {"m.png": "PNG", "m.tif": "TIFF", "m.bmp": "BMP"}[name]
    kinds: dict[int, Any] = {
        0: lambda: Image.fromarray(painted),
        1: lambda: Image.fromarray(painted.astype(np.uint8) * np.uint8(value)),
        2: lambda: Image.fromarray(painted.astype(np.uint16) * random.choice((1, 255, 4095, 65535))),
        3: lambda: Image.fromarray(painted.astype(np.int32) * random.choice((1, 255, 65536))),
        4: lambda: Image.fromarray(painted.astype(np.float32) * random.choice((0.5, 1.0, 255.0))),
        5: lambda: Image.fromarray(np.where(painted[..., None], [0, 0, value], 0).astype(np.uint8)),
        6: lambda: Image.fromarray(np.dstack([np.zeros((size, size, 3)), painted * value]).astype(np.uint8)),
        7: lambda: Image.fromarray(painted.astype(np.uint8) * np.uint8(value)).convert("P"),
        8: lambda: Image.fromarray(np.cumsum(painted, axis=1).astype(np.uint8)),
    }
    try:
        return name, encode(kinds[random.randrange(len(kinds))](), form)
    except OSError:  # a coding that the format does not have
        return "m.tif", encode(kinds[random.randrange(5)](), "TIFF")


def _make_mask(random: Random) -> Case:
    name, content = _drawn_mask(random)
    if random.randrange(2):
        change = mutate_png if name == "m.png" and random.randrange(2) else mutate_bytes
        content = change(random, content)
    return Case({name: content})


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The foreground of a mask file, read by the default rule."""
    return DecodedFiles().mask(Mask(path))


def _check_mask(folder: Path, case: Case) -> None:
    """A mask that is read as empty has no pixel other than 0."""
    path = folder / next(iter(case.files))
    mask = read_mask(path)
    if not mask.any() and (what := _non_zero(path)):
        raise WrongValueError(f"a mask with non-zero pixels reads as empty: {what}")


def _non_zero(path: Path) -> str:
    """Whether the first frame of a lossless image has non-zero colour, or a varying alpha channel."""
    with Image.open(path) as image:
        if image.format not in _LOSSLESS:
            return ""
        image.load()
        values = np.asarray(image.convert("RGBA") if image.mode in ("P", "PA") else image)
        described = f"mode {image.mode}, values {sorted(set(values.ravel().tolist()))[:4]}"
        alpha = image.mode in ("LA", "RGBA", "P", "PA")
    colour = values[..., :-1] if alpha else values
    return described if colour.any() or (alpha and len(np.unique(values[..., -1])) > 1) else ""


def _make_header(random: Random) -> Case:
    """An image of few bytes whose header claims many pixels."""
    side = random.choice((0, 1, 8191, 8192, 8193, 30_000, 65_535, 2**31 - 1))
    other = random.choice((0, 1, 8192, 65_535, side))
    if random.randrange(2):
        return Case(
            {"claim.pgm": b"P5 %d %d %d\n" % (side, random.choice((other, -1)), random.choice((1, 255, 65535)))}
        )
    from zlib import compress

    from fuzzing.mutations import join_png

    depth, colour = random.choice(((8, 0), (16, 0), (8, 2), (8, 6), (16, 6), (1, 0), (8, 3)))
    lines = compress(bytes(random.choice((0, 10_000, 50_000_000))), 1)
    header = struct.pack(">IIBBBBB", side, other, depth, colour, 0, 0, random.randrange(2))
    chunks = [(b"IHDR", header), (b"IDAT", lines), (b"IEND", b"")]
    if colour == 3:
        chunks.insert(1, (b"PLTE", bytes(768)))
    return Case({"claim.png": join_png(chunks)})


def _check_header(folder: Path, case: Case) -> None:
    """Both readers either read the file or refuse it, within the limits of time and memory."""
    from taichinet.runner import read_image

    path = folder / next(iter(case.files))
    for read in (image_io.read_grey, read_mask, read_image):
        try:
            read(path)
        except (TaiChiNetError, OSError, ValueError) as refusal:
            if isinstance(refusal, ValueError | OSError) and read is not read_image:
                raise


def targets(_: Path) -> list[Target]:
    """The targets of this file."""
    seeds = image_seeds()
    return [
        Target("image", "predict, python -m taichinet.runner", lambda r: _make_image(seeds, r), _check_image, 30),
        Target("mask", "train, evaluate, data check", _make_mask, _check_mask, 20),
        Target("header", "predict, python -m taichinet.runner", _make_header, _check_header, 1),
    ]
