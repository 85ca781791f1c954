"""DecodedFiles: files are decoded once, masks are united, and all faults of a sample are listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from taichinet import runner
from taichinet.datasets.decoded import DecodedFiles, region_masks, united_mask
from taichinet.datasets.sample import Mask, MaskRule, Sample
from taichinet.errors import DataError

HEIGHT, WIDTH = 12, 17
RAMP = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
LESION = np.zeros((HEIGHT, WIDTH), dtype=bool)
LESION[3:7, 4:13] = True


def mask_file(folder: Path, mode: str, name: str = "mask.png", lesion: NDArray[np.bool_] = LESION) -> Path:
    Image.fromarray(255 * lesion.astype(np.uint8)).convert(mode).save(folder / name)
    return folder / name


def image_file(folder: Path) -> Path:
    Image.fromarray(RAMP).save(folder / "image.png")
    return folder / "image.png"


def test_masks_are_united_and_must_have_the_size_of_the_image(tmp_path: Path) -> None:
    image = image_file(tmp_path)
    other = np.roll(LESION, 4, axis=0)
    masks = (Mask(mask_file(tmp_path, "1", "a.png")), Mask(mask_file(tmp_path, "RGBA", "b.png", other)))
    np.testing.assert_array_equal(united_mask(Sample("a", "benign", image, masks)), LESION | other)
    small = Mask(mask_file(tmp_path, "L", "small.png", LESION[1:]))
    with pytest.raises(DataError, match=r"small\.png: the mask is 11 x 17 pixels, its image 12 x 17"):
        united_mask(Sample("a", "benign", image, (*masks, small)))


def test_rotated_image_matches_a_mask_drawn_on_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        assert ImageOps.exif_transpose(image).size == (HEIGHT, WIDTH)
    mask = mask_file(tmp_path, "1", lesion=np.rot90(LESION, 3))
    assert united_mask(Sample("a", "benign", tmp_path / "a.jpg", (Mask(mask),))).shape == (WIDTH, HEIGHT)


def test_all_problems_of_a_sample_are_listed(tmp_path: Path) -> None:
    image = image_file(tmp_path)
    small = mask_file(tmp_path, "L", "small.png", LESION[1:])
    (tmp_path / "empty.png").touch()
    problems = DecodedFiles().problems_in(
        image, [Mask(small), Mask(tmp_path / "empty.png"), Mask(mask_file(tmp_path, "1"))]
    )
    assert [Path(line.split(":")[0]).name for line in problems] == ["small.png", "empty.png"]
    assert DecodedFiles().problems_in(None, [Mask(small)]) == []


def test_file_with_two_regions_is_decoded_once_with_each_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((20, 30), np.uint8)
    values[4:16, 5:25], values[8:12, 10:20] = 1, 2
    label, image = tmp_path / "label.png", tmp_path / "image.png"
    Image.fromarray(values).save(label)
    Image.fromarray(values).save(image)
    sample = Sample("a", "x", image, (Mask(label, 0, MaskRule(1, 1)), Mask(label, 1, MaskRule(2, 2))))
    decoded: list[str] = []
    decode = runner.decode

    def spy(source: Any) -> Any:
        decoded.append(source.name)
        return decode(source)

    monkeypatch.setattr(runner, "decode", spy)
    outer, inner = region_masks(sample, 2)
    assert decoded == ["label.png"]
    assert np.array_equal(outer, values > 0)
    assert np.array_equal(inner, values == 2)
    files = DecodedFiles()
    assert files.problems_in(image, sample.masks) == []
    assert decoded == ["label.png", "image.png", "label.png"]
    assert np.array_equal(files.region_masks(sample, 2), [outer, inner])
    assert len(decoded) == 3
