"""Decoding: every image mode gives the same pixels, and every damaged file is reported by name."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from taichinet import runner
from taichinet.datasets.decoded import DecodedFiles, united_mask
from taichinet.datasets.image_io import read_grey, read_header, read_rgb
from taichinet.datasets.manifest import BRIGHT, Mask, MaskRule, Sample
from taichinet.errors import DataError

HEIGHT, WIDTH = 12, 17
RAMP = np.linspace(0, 255, HEIGHT * WIDTH).round().astype(np.uint8).reshape(HEIGHT, WIDTH)
LESION = np.zeros((HEIGHT, WIDTH), dtype=bool)
LESION[3:7, 4:13] = True


def read_mask(file: Path, rule: MaskRule = BRIGHT) -> NDArray[np.bool_]:
    return DecodedFiles().mask(Mask(file, rule=rule))


def grey_file(folder: Path, mode: str) -> Path:
    """The ramp, saved in a file that Pillow opens in `mode`."""
    image = Image.fromarray(RAMP)
    wide = RAMP.astype(np.uint16) * 257
    if mode == "I;16":
        image = Image.fromarray(wide)
    elif mode == "I;16B":
        image = Image.frombytes("I;16B", (WIDTH, HEIGHT), wide.astype(">u2").tobytes())
    elif mode == "I":
        image = Image.fromarray(RAMP.astype(np.int32) << 16)
    elif mode == "F":
        image = Image.fromarray(RAMP.astype(np.float32) / 1000 - 0.1)
    else:
        image = image.convert(mode)
    file = folder / f"{mode.replace(';', '')}.{'png' if mode in ('LA', 'P', 'RGB', 'RGBA', 'L', '1') else 'tiff'}"
    image.save(file)
    with Image.open(file) as saved:
        assert saved.mode == mode
    return file


def mask_file(folder: Path, mode: str, name: str = "mask.png", lesion: NDArray[np.bool_] = LESION) -> Path:
    Image.fromarray(255 * lesion.astype(np.uint8)).convert(mode).save(folder / name)
    return folder / name


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "I;16B", "F"])
def test_every_mode_gives_the_same_grey_and_colour(mode: str, tmp_path: Path) -> None:
    file = grey_file(tmp_path, mode)
    grey, colour = read_grey(file), read_rgb(file)
    assert grey.dtype == colour.dtype == np.uint8
    np.testing.assert_array_equal(grey, RAMP)
    np.testing.assert_array_equal(colour, np.stack([RAMP] * 3, axis=2))
    assert read_header(file).size == (HEIGHT, WIDTH)


def test_ycbcr_image_is_read_within_two_grey_levels(tmp_path: Path) -> None:
    file = tmp_path / "a.tiff"
    Image.fromarray(RAMP).convert("RGB").convert("YCbCr").save(file)
    with Image.open(file) as saved:
        assert saved.mode == "YCbCr"
    assert np.abs(read_grey(file).astype(int) - RAMP).max() <= 2
    assert np.abs(read_rgb(file).astype(int) - RAMP[..., None]).max() <= 2


def test_one_bit_image_is_black_and_white(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_grey(mask_file(tmp_path, "1")), 255 * LESION)


def test_colours_are_kept_and_grey_is_their_luma(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (200, 100, 50)).save(tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png").tolist() == [[[200, 100, 50]] * 3] * 2
    assert read_grey(tmp_path / "a.png").tolist() == [[round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)] * 3] * 2


def test_transparent_pixels_are_black_in_images_and_ignored_in_masks(tmp_path: Path) -> None:
    Image.new("RGBA", (3, 2), (255, 255, 255, 0)).save(tmp_path / "a.png")
    Image.new("LA", (3, 2), (200, 51)).save(tmp_path / "b.png")
    assert not read_grey(tmp_path / "a.png").any()
    assert read_mask(tmp_path / "a.png").all()
    assert (read_grey(tmp_path / "b.png") == 40).all()


@pytest.mark.parametrize("shift", range(0, 24, 2))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_image_of_any_bit_depth_is_scaled_by_its_used_bits(shift: int, suffix: str, tmp_path: Path) -> None:
    if suffix == "png" and shift > 8:
        pytest.skip("PNG holds 16 bits at most.")
    pixels = np.left_shift(RAMP, shift, dtype=np.uint16 if shift <= 8 else np.int32)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_grey(tmp_path / f"a.{suffix}"), RAMP)


def test_dark_16_bit_image_using_15_bits_is_not_brightened(tmp_path: Path) -> None:
    Image.fromarray(np.array([[2567, 20000]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png").tolist() == [[10, 78]]


@pytest.mark.parametrize(("scale", "expected"), [(1, [0, 26, 128]), (100, [0, 10, 50])])
def test_float_values_are_fractions_or_grey_values(scale: float, expected: list[int], tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.1, 0.5]], dtype=np.float32) * scale).save(tmp_path / "a.tif")
    assert read_grey(tmp_path / "a.tif").tolist() == [expected]


def test_colour_of_16_bits_with_unused_upper_bits_is_rejected(tmp_path: Path) -> None:
    for name, values in (("dark.png", RAMP), ("whole.png", RAMP.astype(np.uint16) * 257)):
        (tmp_path / name).write_bytes(rgb_png_of_16_bits(values))
    np.testing.assert_array_equal(read_grey(tmp_path / "whole.png"), RAMP)
    with pytest.raises(DataError, match=r"dark\.png.*8 bits per channel"):
        read_grey(tmp_path / "dark.png")
    with pytest.raises(DataError, match=r"dark\.png.*16 bits .* channel"):
        read_mask(tmp_path / "dark.png")


def rgb_png_of_16_bits(values: NDArray[np.integer]) -> bytes:
    height, width = values.shape
    lines = b"".join(b"\0" + np.repeat(line.astype(">u2"), 3).tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, part in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        content += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    return content


@pytest.mark.parametrize("suffix", ["gif", "pcx", "tga", "ico", "sgi", "jp2", "eps"])
def test_unlisted_format_is_not_decoded_whatever_its_suffix(suffix: str, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / f"a.{suffix}")
    (tmp_path / f"a.{suffix}").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is not an image, or has an unknown format"):
        read_grey(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["tif", "png", "webp"])
def test_file_of_several_pages_is_rejected(suffix: str, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.roll(RAMP, shift)) for shift in range(3)]
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=rf"a\.{suffix}: holds several pages.*file of its own"):
        read_grey(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("fault", [RuntimeError, NotImplementedError, AssertionError, MemoryError, TypeError])
def test_any_decoder_error_names_the_file(
    fault: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = grey_file(tmp_path, "L")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=r"L\.png"):
        read_grey(file)


def test_file_with_swapped_chunk_is_rejected(tmp_path: Path) -> None:
    content = bytearray(grey_file(tmp_path, "L").read_bytes())
    content[37:41] = b"IEND"
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: is cut short or damaged"):
        read_grey(tmp_path / "a.png")


def test_too_large_file_and_pipe_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = grey_file(tmp_path, "L")
    monkeypatch.setattr(runner, "MOST_BYTES", 20)
    with pytest.raises(DataError, match="limit of 20 bytes"):
        read_grey(file)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="not a regular file"):
        read_grey(tmp_path / "pipe.png")


def test_constant_float_image_is_black_at_zero_and_white_above(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "a.tiff")
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "b.tiff")
    assert not read_mask(tmp_path / "a.tiff").any()
    assert read_mask(tmp_path / "b.tiff").all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_exif_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(RAMP).save(file, exif=exif)
    turn = {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}[orientation]  # quarter turns against the clock
    upright = np.rot90(RAMP, turn)
    upright = upright[:, ::-1] if orientation in (2, 4, 5, 7) else upright
    np.testing.assert_array_equal(read_grey(file), upright)
    assert read_header(file).size == upright.shape


@pytest.mark.parametrize("read", [read_grey, read_header])
def test_image_with_unreadable_orientation_is_rejected(read: object, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(RAMP).save(file, exif=b"Exif\x00\x00II*\x00\xff\xff\xff")
    with pytest.raises(DataError, match=r"a\.png: is cut short or damaged"):
        read(file)  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_gives_the_same_mask(mode: str, tmp_path: Path) -> None:
    mask = read_mask(mask_file(tmp_path, mode, "mask.tiff" if mode == "CMYK" else "mask.png"))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, LESION)


def test_mask_pixel_is_lesion_only_above_127(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("colour", [(255, 0, 0), (128, 0, 0), (0, 0, 255)])
def test_palette_mask_is_lesion_in_any_bright_colour(colour: tuple[int, int, int], tmp_path: Path) -> None:
    image = Image.fromarray(LESION.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, *colour])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), LESION)


@pytest.mark.parametrize("top", [1, 255, 65535])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_mask_of_any_depth_is_read_by_its_coding(top: int, kind: type[np.integer], tmp_path: Path) -> None:
    if top > np.iinfo(kind).max:
        pytest.skip("The value needs more bits.")
    Image.fromarray(LESION.astype(kind) * kind(top)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), LESION)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif", MaskRule(1, 255)), LESION)


@pytest.mark.parametrize("top", [1, 255])
def test_mask_of_floats_is_read(top: float, tmp_path: Path) -> None:
    Image.fromarray(LESION.astype(np.float32) * top).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), LESION)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (LESION * np.uint16(4095), "greatest value of this mask is 4095 .values: 0, 4095"),
        (LESION * np.uint8(60), "greatest value of this mask is 60"),
        (LESION * np.uint8(2) + (RAMP > 250), "0, 1, 2: it is a label map.*labels"),
        (
            np.where(LESION, 90, 0) + 80 * (RAMP == 0),
            "greatest value of this mask is (90|80)",
        ),
        (np.where(LESION, 90, 0) + 170 * (RAMP == 0), "greatest value of this mask is 170"),
        (LESION.astype(np.int32) * 100_000, "greatest value of this mask is 100000"),
        (LESION.astype(np.int32) * -1, "greatest value of this mask is 0 .values: -1, 0"),
    ],
)
def test_ambiguous_mask_is_rejected_with_its_values(values: NDArray[np.integer], words: str, tmp_path: Path) -> None:
    values = values.astype(np.uint8) if values.dtype == np.int64 else values
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif: .*{words}"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("colour", [0, 255])
def test_mask_in_transparency_of_one_colour_is_read(colour: int, tmp_path: Path) -> None:
    pixels = np.full((HEIGHT, WIDTH, 4), colour, dtype=np.uint8)
    pixels[..., 3] = LESION * 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), LESION)


def test_mask_with_colour_in_transparent_pixels_is_rejected(tmp_path: Path) -> None:
    pixels = np.full((HEIGHT, WIDTH, 4), 255, dtype=np.uint8)
    pixels[LESION, 1:3] = 0
    pixels[..., 3] = LESION * 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png.*colour where it is transparent"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", [3, 6])
def test_mask_of_another_orientation_is_detected_even_if_its_size_matches(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    square = RAMP[:, :HEIGHT]
    image, mask = tmp_path / "a.jpg", mask_file(tmp_path, "L", lesion=LESION[:, :HEIGHT])
    Image.fromarray(square).save(image, exif=exif)
    sample = Sample("a", "benign", image, (Mask(mask),))
    with pytest.raises(DataError, match=rf"mask\.png.*EXIF orientation {orientation}"):
        united_mask(sample)
    assert len(DecodedFiles().problems_in(image, sample.masks)) == 1
    Image.fromarray(255 * LESION[:, :HEIGHT].astype(np.uint8)).save(mask, exif=exif)
    assert united_mask(sample).shape == square.shape
    assert DecodedFiles().problems_in(image, sample.masks) == []


@pytest.mark.parametrize("read", [read_grey, read_rgb, read_mask, read_header, united_mask])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "zero bytes"),
        (b"not an image", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image|cut short"),
        (None, "cannot be read"),
    ],
)
def test_file_without_an_image_is_reported(read: object, content: bytes | None, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    if content is not None:
        file.write_bytes(content)
    source = Sample("broken", "benign", file, (Mask(file),)) if read is united_mask else file
    with pytest.raises(DataError, match=rf"broken\.png: .*({fault})"):
        read(source)  # type: ignore[operator]


@pytest.mark.parametrize("read", [read_grey, read_rgb, read_mask])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_truncated_image_is_reported(read: object, suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, {"png": "PNG", "jpg": "JPEG", "tiff": "TIFF"}[suffix])
    file = tmp_path / f"torn.{suffix}"
    file.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(DataError, match=rf"torn\.{suffix}: .*(cut short|not an image).*(copy it again|save it)"):
        read(file)  # type: ignore[operator]


def test_size_of_truncated_png_is_read_from_its_header(tmp_path: Path) -> None:
    file = grey_file(tmp_path, "L")
    file.write_bytes(file.read_bytes()[:60])
    assert read_header(file).size == (HEIGHT, WIDTH)


def test_decompression_bomb_is_rejected_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = grey_file(tmp_path, "L")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "MOST_PIXELS", HEIGHT * WIDTH - 1)
        with pytest.raises(DataError, match=r"L\.png: claims 12 x 17 pixels.*bomb"):
            read_header(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"L\.png: claims more pixels.*bomb"):
        read_grey(file)


def test_float_image_with_non_finite_values_is_rejected(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="not finite"):
        read_grey(tmp_path / "a.tiff")


def test_returned_arrays_are_writeable(tmp_path: Path) -> None:
    file = grey_file(tmp_path, "L")
    for values in (read_grey(file), read_rgb(file), read_mask(file)):
        assert values.flags.writeable


def test_file_in_a_zip_is_read_like_a_plain_file_and_flipped_byte_is_reported(tmp_path: Path) -> None:
    file = grey_file(tmp_path, "L")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(file, "in/L.png")
    member = zipfile.Path(tmp_path / "a.zip") / "in" / "L.png"
    np.testing.assert_array_equal(read_grey(member), RAMP)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.find(b"IDAT") + 10] ^= 255
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"in/L\.png: cannot be read .*CRC"):
        read_grey(zipfile.Path(tmp_path / "b.zip") / "in" / "L.png")
