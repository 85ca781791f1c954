"""Prepared data: nested regions, and a cache that is neither outdated nor incomplete."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.busi import make_fake_busi
from PIL import Image

from taichinet import runner
from taichinet.datasets.decoded import region_masks
from taichinet.datasets.image_io import resize_image, resize_mask
from taichinet.datasets.manifest import Manifest, Mask, MaskRule, Sample
from taichinet.datasets.prepared import Prepared, draw_equally, prepare
from taichinet.datasets.readers.busi import DATASET


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    return make_fake_busi(tmp_path / "data")


def equal(first: Prepared, other: Prepared) -> bool:
    pixels = torch.equal(first.image, other.image) and torch.equal(first.lesion, other.lesion)
    return pixels and (first.keys, first.labels) == (other.keys, other.labels)


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*"))


def test_cache_equals_decoding_and_decodes_once(busi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, cache = DATASET.read(busi), tmp_path / "cache"
    first = prepare(manifest, 32, 1, cache)
    assert equal(first, prepare(manifest, 32, 1))
    (entry,) = entries(cache)
    monkeypatch.setattr(runner, "decode", None)  # decoding again would fail
    assert equal(prepare(manifest, 32, 1, cache), first)
    assert entries(cache) == [entry]


def test_settings_images_masks_and_classes_have_separate_entries(busi: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    prepare(DATASET.read(busi), 32, 1, cache)
    changes: tuple[Callable[[], object], ...] = (
        lambda: prepare(DATASET.read(busi), 48, 1, cache),
        lambda: prepare(DATASET.read(busi), 32, 3, cache),
        lambda: prepare(DATASET.read(busi, include_normal=False), 32, 1, cache),
    )
    for count, change in enumerate(changes, start=2):
        change()
        assert len(entries(cache)) == count
    mask = busi / "benign" / "benign (2)_mask.png"
    inverted = 255 - np.asarray(Image.open(mask).convert("L"))
    Image.fromarray(inverted).save(mask)
    changed = prepare(DATASET.read(busi), 32, 1, cache)
    assert len(entries(cache)) == 5
    assert equal(changed, prepare(DATASET.read(busi), 32, 1))


def test_truncated_entry_is_rewritten(busi: Path, tmp_path: Path) -> None:
    manifest, cache = DATASET.read(busi), tmp_path / "cache"
    first = prepare(manifest, 32, 1, cache)
    (entry,) = entries(cache)
    entry.write_bytes(entry.read_bytes()[:100])
    assert equal(prepare(manifest, 32, 1, cache), first)
    assert equal(prepare(manifest, 32, 1, cache), first)


@pytest.mark.slow
def test_several_processes_can_share_the_cache(busi: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "from pathlib import Path; import sys;"
        "from taichinet.datasets.prepared import prepare; from taichinet.datasets.readers.busi import DATASET;"
        "print(int(prepare(DATASET.read(Path(sys.argv[1])), 32, 1, Path(sys.argv[2])).image.sum()))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(busi), str(cache)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        for _ in range(2)
    ]
    sums = {run.communicate()[0].strip() for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert sums == {str(int(prepare(DATASET.read(busi), 32, 1).image.sum()))}
    assert len(entries(cache)) == 1


def test_inner_region_is_part_of_the_outer_region_for_any_masks(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 90, dtype=np.uint8)).save(tmp_path / "image.png")
    levels = np.full((4, 6), 255, dtype=np.uint8)  # a REFUGE-like map: 255 outside, 128 rim, 0 inside
    levels[1:3, 1:5], levels[1:3, 2] = 128, 0
    Image.fromarray(levels).save(tmp_path / "levels.png")
    stray = np.zeros((4, 6), dtype=np.uint8)
    stray[0, 0] = 255
    Image.fromarray(stray).save(tmp_path / "stray.png")
    file = tmp_path / "levels.png"
    masks = (Mask(file, 0, MaskRule(0, 191)), Mask(file, 1, MaskRule(0, 63)), Mask(tmp_path / "stray.png", 1))
    sample = Sample("eye", "fundus", tmp_path / "image.png", masks)
    disc, cup = region_masks(sample, 2)
    expected_cup = (levels == 0) | (stray > 0)
    np.testing.assert_array_equal(cup, expected_cup)
    np.testing.assert_array_equal(disc, (levels < 255) | expected_cup)
    manifest = Manifest("eyes", (sample, replace(sample, key="other")), ("disc", "cup"))
    assert prepare(manifest, 16, 1).lesion.shape == (2, 2, 16, 16)


def test_inverted_masks_give_a_warning_from_files_and_cache(busi: Path, tmp_path: Path) -> None:
    for file in busi.rglob("*_mask*.png"):
        Image.eval(Image.open(file).convert("L"), lambda value: 255 - value).save(file)
    manifest = DATASET.read(busi, include_normal=False)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"cover \d+% of the images: lesion and background"):
            prepare(manifest, 32, 1, tmp_path / "cache")


def test_images_are_resized_with_antialiasing_and_masks_by_nearest_neighbour() -> None:
    stripes = np.zeros((96, 96), dtype=np.uint8)
    stripes[:, 1::3] = 90  # the middle column of every three
    image = resize_image(stripes, 32)
    assert image[:, 1:-1].min() > 20  # a mean of neighbours, neither 0 nor 90
    assert image[:, 1:-1].max() < 70
    assert resize_mask(stripes > 0, 32).all()
    assert not resize_mask(np.roll(stripes, 1, axis=1) > 0, 32).any()


def test_batch_images_are_between_0_and_1() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    prepared = Prepared(("a",), ("lesion",), pixels, torch.zeros_like(pixels))
    assert prepared.batch(torch.tensor([0])).image.flatten().tolist() == pytest.approx([0, 0.2, 1])


def test_equal_mix_draws_each_data_set_equally_often_and_repeats_images_evenly() -> None:
    sources = [0] * 10 + [1] * 3
    for seed in range(5):
        counts = draw_equally(sources, torch.Generator().manual_seed(seed)).bincount(minlength=13)
        assert counts.sum() == 13
        assert sorted([int(counts[:10].sum()), int(counts[10:].sum())]) == [6, 7]
        for part in (counts[:10], counts[10:]):
            assert part.max() - part.min() <= 1
    first, second = (draw_equally(sources, torch.Generator().manual_seed(0)) for _ in range(2))
    assert first.equal(second)
