"""A study on joined bundles has the folds, images and masks of one on the original data sets, or is refused."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import change_record
from fakes.bus_uclm import GREEN, RED
from fakes.folder import make_fake_folder
from PIL import Image

from taichinet.datasets.bundle.write import make_bundle, write_bundle
from taichinet.datasets.duplicates.known_images import ImageDigests
from taichinet.datasets.folds import Protocol
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.study_data import StudyData, open_study_data

RECIPE = vary(
    get_recipe("cpu-unet"),
    {"data.size": 32, "data.validation_share": 0.5, "data.folds": 2, "data.include_normal": True},
)


def write_phantom_bus_uclm(root: Path) -> Path:
    """Phantoms in the layout of BUS-UCLM: four patients, and a mask of another size than its image."""
    phantoms = write_phantom_busi(root / "phantoms", 6, 6, 4, seed=2, size=(96, 128))
    folder, lines = root / "BUS-UCLM", ["Image;Label"]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, image in enumerate(sorted(phantoms.glob("*/*).png"))):
        name, label = f"{('ALWI', 'ANFO', 'BEKA', 'CODE')[number % 4]}_{number:03}.png", image.parent.name
        shutil.copy(image, folder / "images" / name)
        mask = np.array(Image.open(image.with_name(f"{image.stem}_mask.png")).convert("L")) > 0
        colours = mask[..., None] * np.array(GREEN if label == "benign" else RED, dtype=np.uint8)
        Image.fromarray(colours).save(folder / "masks" / name)
        lines.append(f"{name};{label.title()}")
    Image.new("RGB", (9, 9)).save(folder / "masks" / "ALWI_000.png")
    (folder / "INFO.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def bundled(spec: str, path: Path, size: int = 32, channels: int = 1) -> str:
    """NAME=FILE of a new bundle of the data set NAME=PATH."""
    write_bundle(make_bundle(spec, size, channels), path)
    return f"{spec.partition('=')[0]}={path}"


@dataclass(frozen=True)
class Specs:
    """The values of --data for the same two data sets."""

    originals: list[str]
    bundles: list[str]
    mixed: list[str]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    """Phantoms in the layout of BUSI, two of them equal, and BUS-UCLM, whose reader leaves out an image."""
    root = tmp_path_factory.mktemp("data")
    busi = write_phantom_busi(root / "busi", 8, 6, 5, seed=1, size=(96, 128))
    for end in ("", "_mask"):
        shutil.copy(busi / "benign" / f"benign (1){end}.png", busi / "benign" / f"benign (3){end}.png")
    originals = [f"busi={busi}", f"bus-uclm={write_phantom_bus_uclm(root)}"]
    bundles = [bundled(spec, root / f"{spec.partition('=')[0]}.zip") for spec in originals]
    return Specs(originals, bundles, [originals[0], bundles[1]])


def same_study(one: StudyData, other: StudyData) -> None:
    """Compare the samples, folds, splits, pixels, masks and digests of two studies."""
    assert other.manifest.name == one.manifest.name
    assert other.manifest.strata == one.manifest.strata
    assert other.manifest.patients == one.manifest.patients
    assert len(other.manifest.left_out) == len(one.manifest.left_out) == 1
    assert (other.manifest.digest(), other.manifest.content_digest()) == (
        *(one.manifest.digest(), one.manifest.content_digest()),
    )
    assert other.plan == one.plan
    for fold in range(one.plan.count):
        splits = [s.plan.split(fold, s.manifest.strata, RECIPE.data.validation_share) for s in (one, other)]
        assert splits[0] == splits[1]
    assert (other.prepared.keys, other.prepared.labels) == (one.prepared.keys, one.prepared.labels)
    assert torch.equal(other.prepared.image, one.prepared.image)
    assert torch.equal(other.prepared.lesion, one.prepared.lesion)
    for mine, theirs in zip(one.manifest, other.manifest, strict=True):
        assert np.array_equal(other.manifest.region_masks(theirs), one.manifest.region_masks(mine))


@pytest.mark.parametrize("kind", ["bundles", "mixed"])
@pytest.mark.parametrize("protocol", ["grouped", "paper", "leave-one-dataset-out"])
def test_joined_bundles_are_the_joined_data_sets(specs: Specs, kind: str, protocol: Protocol, tmp_path: Path) -> None:
    one = open_study_data(RECIPE, specs.originals, protocol, tmp_path / "originals")
    other = open_study_data(RECIPE, getattr(specs, kind), protocol, tmp_path / kind)
    same_study(one, other)
    for folder in ("folds", "prepared"):
        files = [{f.name: f.read_bytes() for f in (tmp_path / n / folder).iterdir()} for n in ("originals", kind)]
        assert files[0] == files[1]


def test_lesions_alone_are_those_of_the_joined_data_sets(specs: Specs, tmp_path: Path) -> None:
    recipe = vary(RECIPE, {"data.include_normal": False})
    one, other = (
        open_study_data(recipe, given, "grouped", tmp_path / str(number))
        for number, given in enumerate((specs.originals, specs.bundles))
    )
    same_study(one, other)
    assert "normal" not in other.manifest.labels.values()
    assert other.manifest.count_images(0).normal == one.manifest.count_images(0).normal > 0


def test_a_study_of_the_originals_goes_on_with_the_bundles(specs: Specs, tmp_path: Path) -> None:
    one = open_study_data(RECIPE, specs.originals, "grouped", tmp_path)
    other = open_study_data(RECIPE, specs.bundles, "grouped", tmp_path)
    same_study(one, other)
    assert len(list((tmp_path / "prepared").iterdir())) == 1


def test_training_images_are_recognised_by_the_same_digests_and_thumbnails(specs: Specs, tmp_path: Path) -> None:
    one, other = (
        ImageDigests(open_study_data(RECIPE, given, "grouped", tmp_path).manifest)
        for given in (specs.originals, specs.bundles)
    )
    assert (other.files, other.pixels) == (one.files, one.pixels)
    assert np.array_equal(other.thumbnails, one.thumbnails)


def test_images_resized_by_another_pillow_have_another_cache_entry(specs: Specs, tmp_path: Path) -> None:
    changed = Path(shutil.copy(specs.bundles[1].partition("=")[2], tmp_path / "changed.zip"))
    change_record(changed, lambda record: record.update(pillow="1.0"))
    for given in (specs.bundles, [specs.bundles[0], f"bus-uclm={changed}"]):
        open_study_data(RECIPE, given, "grouped", tmp_path)
    assert len(list((tmp_path / "prepared").iterdir())) == 2


@pytest.mark.parametrize("also_first", [True, False])
def test_bundles_that_share_an_image_are_refused(specs: Specs, also_first: bool, tmp_path: Path) -> None:
    """Of the shared images one is equal, and one has another size."""
    folder = make_fake_folder(tmp_path)
    source = Path(specs.originals[0].partition("=")[2]) / "benign"
    for number in (1, 2):
        image, mask = (Image.open(source / f"benign ({number}){end}.png") for end in ("", "_mask"))
        size = image.size if number == 1 else (image.width // 2, image.height // 2)
        image.resize(size).save(folder / "images" / f"shared {number}.png")
        mask.resize(size, Image.Resampling.NEAREST).save(folder / "masks" / f"shared {number}.png")
    other = bundled(f"folder={folder}", tmp_path / "folder.zip")
    first = specs.bundles[0] if also_first else specs.originals[0]
    recipe = vary(RECIPE, {"data.include_normal": False})
    with pytest.raises(DataError, match=r"busi\+folder: images of different data sets show the same scene") as caught:
        open_study_data(recipe, [first, other], "grouped", tmp_path / "runs")
    pairs = {(line.split(" (")[0], line.split()[3]) for line in caught.value.problems}
    assert len(caught.value.problems) == 3, pairs  # benign (3) is a copy of benign (1)
    assert "busi/benign (1) and folder/shared 1 (identical, 1.00)" in caught.value.problems
    assert any(line.startswith("busi/benign (2) and folder/shared 2 (rescaled") for line in caught.value.problems)


def test_patients_from_keys_are_kept_together_instead_of_the_folds_of_the_bundle(specs: Specs, tmp_path: Path) -> None:
    folder = make_fake_folder(tmp_path, count=13)
    bundle = bundled(f"folder={folder}", tmp_path / "folder.zip")
    recipe = vary(RECIPE, {"data.include_normal": False, "data.folds": 5})
    one, other = (
        open_study_data(recipe, spec, "grouped", tmp_path / spec[-4:], r"(\d)(?=\.|$)")
        for spec in (f"folder={folder}", bundle)
    )
    assert other.plan == one.plan
    assert ("scan 0", "scan 10") in other.plan.groups


def test_bundles_with_other_images_are_refused_with_both_and_the_command(specs: Specs, tmp_path: Path) -> None:
    for size, channels, have in ((48, 1, "grey images of 48 px"), (32, 3, "RGB images of 32 px")):
        other = bundled(specs.originals[1], tmp_path / "other.zip", size, channels)
        with pytest.raises(DataError, match=r"needs grey images of 32 px.*--size 32 --grey") as caught:
            open_study_data(RECIPE, [specs.bundles[0], other], "grouped", tmp_path / "runs")
        path = specs.bundles[0].partition("=")[2]
        assert caught.value.problems == (f"{path} has grey images of 32 px", f"{tmp_path / 'other.zip'} has {have}")
    assert not (tmp_path / "runs").exists()


def test_bundles_of_the_same_size_but_another_than_the_recipe_are_refused(specs: Specs, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"busi.zip has grey images of 32 px, but grey images of 48 px.*--size 48"):
        open_study_data(vary(RECIPE, {"data.size": 48}), specs.bundles, "grouped", tmp_path)
