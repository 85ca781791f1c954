"""Own folders in every accepted layout: the same images, masks, classes, parts and patients; and each error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taichinet.datasets.bundle.write import make_bundle, write_bundle
from taichinet.datasets.catalogue import CATALOGUE, named_dataset, open_dataset, recognise, split_spec
from taichinet.datasets.checks.check import check_dataset
from taichinet.datasets.folds import make_folds
from taichinet.datasets.interchange.export import export_nnunet
from taichinet.datasets.joint import join_manifests
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.datasets.readers.own_layout import IMAGE_FOLDERS, MASK_FOLDERS, MASK_SUFFIXES
from taichinet.errors import DataError, SettingError
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.study_data import fitted_to

COUNT = 6
SIZE = (24, 32)
Namer = Callable[[int], str]


def image_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, SIZE, dtype=np.uint8)


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[4 : 9 + number, 6:16] = 255
    return mask


def write(folder: Path, image: Namer, mask: Namer) -> Path:
    for number in range(COUNT):
        for name, pixels in ((image(number), image_of(number)), (mask(number), mask_of(number))):
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    return folder


def label_of(number: int) -> str:
    return ("benign", "malignant")[number % 2]


def part_of(number: int) -> str:
    return ("train", "val", "test")[number % 3]


def by_number(manifest: Manifest) -> dict[int, Sample]:
    return {int(sample.image.name.partition(".")[0].removeprefix("s")): sample for sample in manifest}


def assert_same_pixels(manifest: Manifest) -> None:
    samples = by_number(manifest)
    assert sorted(samples) == list(range(COUNT))
    for number, sample in samples.items():
        np.testing.assert_array_equal(np.asarray(Image.open(str(sample.image))), image_of(number))
        np.testing.assert_array_equal(manifest.region_masks(sample)[0], mask_of(number) > 0)


PLAIN: dict[str, tuple[Namer, Namer]] = {
    **{
        f"{images}, {masks}": (lambda n, f=images: f"{f}/s{n}.png", lambda n, f=masks: f"{f}/s{n}.png")  # type: ignore[misc]
        for images, masks in [
            *((images, "masks") for images in IMAGE_FOLDERS if images != "image"),
            *(("images", masks) for masks in MASK_FOLDERS),
            *(("IMAGES", "Masks"), ("Img", "GT"), ("image", "Labels")),
        ]
    },
    **{
        f"suffix {suffix}": (lambda n: f"s{n}.png", lambda n, s=suffix: f"s{n}_{s}.png")  # type: ignore[misc]
        for suffix in (*MASK_SUFFIXES, "Mask")
    },
    "bmp and tif": (lambda n: f"images/s{n}.bmp", lambda n: f"masks/s{n}_seg.TIF"),
    "numbered folder": (lambda n: f"images/s{n}.png", lambda n: f"masks/0/s{n}.png"),
}
PARTS: dict[str, tuple[Namer, Namer]] = {
    "part above": (lambda n: f"{part_of(n)}/images/s{n}.png", lambda n: f"{part_of(n)}/masks/s{n}.png"),
    "part below": (lambda n: f"images/{part_of(n)}/s{n}.png", lambda n: f"masks/{part_of(n).upper()}/s{n}.png"),
    "part, flat": (lambda n: f"{part_of(n)}/s{n}.png", lambda n: f"{part_of(n)}/s{n}_gt.png"),
}
CLASSES: dict[str, tuple[Namer, Namer]] = {
    "class above": (lambda n: f"{label_of(n)}/images/s{n}.png", lambda n: f"{label_of(n)}/masks/s{n}.png"),
    "class below": (lambda n: f"images/{label_of(n)}/s{n}.png", lambda n: f"masks/{label_of(n)}/s{n}.png"),
    "class, flat": (lambda n: f"{label_of(n)}/s{n}.png", lambda n: f"{label_of(n)}/s{n}_mask.png"),
}


@pytest.mark.parametrize("layout", PLAIN)
def test_plain_layouts_give_the_same_images_and_masks(layout: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "own", *PLAIN[layout])
    assert recognise(folder) is recognise(tmp_path) is CATALOGUE["folder"]
    manifest = open_dataset(folder)
    assert list(manifest.keys) == [f"s{n}" for n in range(COUNT)]
    assert set(manifest.labels.values()) == {"lesion"}
    assert_same_pixels(manifest)


@pytest.mark.parametrize("layout", PARTS)
def test_parts_are_read_in_both_orders_of_nesting(layout: str, tmp_path: Path) -> None:
    manifest = open_dataset(write(tmp_path, *PARTS[layout]))
    assert_same_pixels(manifest)
    names = {"train": "train", "val": "validation", "test": "test"}
    for number, sample in by_number(manifest).items():
        assert (sample.key, sample.label) == (f"{part_of(number)}-s{number}", "lesion")
        assert sample.part == names[part_of(number)]


@pytest.mark.parametrize("layout", CLASSES)
def test_class_folders_give_classes(layout: str, tmp_path: Path) -> None:
    manifest = open_dataset(write(tmp_path, *CLASSES[layout]))
    assert_same_pixels(manifest)
    for number, sample in by_number(manifest).items():
        assert (sample.key, sample.label) == (f"{label_of(number)}-s{number}", label_of(number))
        assert sample.part is None


@pytest.mark.parametrize("above", ["{part}/{label}", "{label}/{part}"])
def test_classes_and_parts_are_read_in_either_order(above: str, tmp_path: Path) -> None:
    def folder(n: int) -> str:
        return above.format(part=part_of(n), label=label_of(n))

    manifest = open_dataset(write(tmp_path, lambda n: f"{folder(n)}/s{n}.png", lambda n: f"{folder(n)}/s{n}_seg.png"))
    assert_same_pixels(manifest)
    assert set(manifest.keys) == {f"{part_of(n)}-{label_of(n)}-s{n}" for n in range(COUNT)}


def write_table(folder: Path, name: str = "list.csv", header: str = "image,mask,split,group,label") -> Path:
    write(folder, lambda n: f"scans/s{n}.png", lambda n: f"truth/t{n}.png")
    rows = [f"scans/s{n}.png,truth/t{n}.png,{part_of(n)},P{n // 2},{label_of(n)}" for n in range(COUNT)]
    width = header.count(",") + 1
    lines = [header, *(",".join(row.split(",")[:width]) for row in rows)]
    (folder / name).write_text("\n".join(lines))
    return folder / name


@pytest.mark.parametrize("header", ["image,mask,split,group,label", "Image,MASK,Split,patient,Class"])
def test_table_gives_masks_parts_patients_and_classes(header: str, tmp_path: Path) -> None:
    table = write_table(tmp_path, header=header)
    manifest = open_dataset(tmp_path)
    assert manifest == open_dataset(table)
    assert_same_pixels(manifest)
    for number, sample in by_number(manifest).items():
        assert (sample.label, sample.patient) == (label_of(number), f"P{number // 2}")
        assert sample.key == f"scans-s{number}"
    assert [sample.part for sample in manifest] == ["train", "validation", "test"] * 2
    plan = make_folds(manifest, (), count=2)
    assert all(len({plan.fold_of[key] for key in keys}) == 1 for keys in manifest.patients)
    assert len(manifest.patients) == 3


def test_table_with_two_columns_is_enough_and_rows_of_one_image_are_united(tmp_path: Path) -> None:
    table = write_table(tmp_path, header="image,mask")
    assert set(open_dataset(tmp_path).labels.values()) == {"lesion"}
    table.write_text("image,mask\nscans/s0.png,truth/t0.png\nscans/s0.png,truth/t1.png\n")
    (sample,) = open_dataset(tmp_path).samples
    assert [mask.file.name for mask in sample.masks] == ["t0.png", "t1.png"]


def test_normal_image_needs_no_mask_in_a_table(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    table.write_text("image,mask,label\nscans/s0.png,truth/t0.png,benign\nscans/s1.png,,normal\n")
    assert open_dataset(tmp_path).labels == {"scans-s0": "benign", "scans-s1": "normal"}
    assert open_dataset(tmp_path, include_normal=False).labels == {"scans-s0": "benign"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("scans/s0.png,truth/t9.png,train,P,benign", "'truth/t9.png' does not exist"),
        ("../s0.png,truth/t0.png,train,P,benign", "must be relative to the table's folder"),
        ("scans/s0.png,,train,P,benign", "has no mask; give an image without a lesion an empty mask"),
        ("scans/s0.png,truth/t0.png,later,P,benign", "split 'later' is none of train"),
        ("scans/s0.png,truth/t0.png,train,,benign", "column 'group' is empty"),
        ("scans/s1.png,truth/t0.png,train,P0,malignant", "has other values in a row above"),
        ("scans/s1.png,truth/t1.png,val,P0,malignant", "is listed twice with the same mask"),
        ("scans/s0.png,truth/t1.png,val,P0,malignant", "mask 'truth/t1.png' is listed for"),
    ],
)
def test_faulty_rows_are_reported_with_the_image(row: str, message: str, tmp_path: Path) -> None:
    table = write_table(tmp_path)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *lines[2:], row]))
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    (problem,) = caught.value.problems
    assert message in problem
    assert str(table) in problem


def test_several_tables_and_columns_of_one_meaning_are_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    second = Path(shutil.copy(table, tmp_path / "other.csv"))
    with pytest.raises(DataError, match=r"several tables .*\(list.csv, other.csv\). Pass one"):
        open_dataset(tmp_path)
    assert len(open_dataset(second).samples) == COUNT
    second.write_text(table.read_text().replace("label", "patient"))
    with pytest.raises(DataError, match="the columns group and patient mean the same"):
        open_dataset(second)
    second.write_text("image,label\nx.png,benign\n")
    with pytest.raises(DataError, match="has no column 'mask', only image, label"):
        open_dataset(second)


def write_two_regions(folder: Path) -> Path:
    write(folder, lambda n: f"images/s{n}.png", lambda n: f"masks/0/s{n}.png")
    return write(folder, lambda n: f"images/s{n}.png", lambda n: f"masks/1/s{n}.png")


def test_numbered_folders_of_masks_must_be_declared(tmp_path: Path) -> None:
    folder, declaration = write_two_regions(tmp_path), tmp_path / "regions.txt"
    with pytest.raises(DataError, match=r"has 2 folders of masks \(0 to 1\), and no regions.txt. Write one line"):
        open_dataset(folder)
    for text, message in (
        ("nested: disc", "does not declare 2 regions"),
        ("separate: a, a", "does not declare 2 regions"),
        ("", "does not declare 2 regions"),
    ):
        declaration.write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset(folder)


def test_numbered_folders_are_nested_regions_or_one_region(tmp_path: Path) -> None:
    folder, declaration = write_two_regions(tmp_path), tmp_path / "regions.txt"
    declaration.write_text("Nested: disc, cup\n")
    manifest = open_dataset(folder)
    assert manifest.regions == ("disc", "cup")
    assert [mask.region for mask in manifest.samples[0].masks] == [0, 1]
    declaration.write_text("united")
    (folder / "masks" / "1" / "s3.png").unlink()
    manifest = open_dataset(folder)
    assert manifest.regions == ("lesion",)
    assert_same_pixels(manifest)
    declaration.write_text("nested: disc, cup")
    with pytest.raises(DataError) as caught:
        open_dataset(folder)
    assert "s3.png: has no mask 's3'" in caught.value.problems[0]


def test_separate_regions_do_not_contain_each_other(tmp_path: Path) -> None:
    folder = write_two_regions(tmp_path)
    for file in (folder / "masks" / "0").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(file)))).save(file)
    (folder / "regions.txt").write_text("separate: cyst, tumour")
    manifest = open_dataset(folder)
    cyst, tumour = manifest.region_masks(manifest.samples[0])
    assert tumour.any()
    assert not cyst.any()
    assert not [f for f in check_dataset(manifest).findings if f.kind in ("region outside", "empty mask")]
    write_bundle(make_bundle(folder, 32, 1), tmp_path / "bundle.zip")
    bundled = open_dataset(tmp_path / "bundle.zip")
    assert (bundled.regions, bundled.nested) == (("cyst", "tumour"), False)
    np.testing.assert_array_equal(bundled.region_masks(bundled.samples[0]), [cyst, tumour])
    with pytest.raises(DataError, match="The regions cyst, tumour of folder are separate"):
        export_nnunet(manifest, tmp_path / "nnunet")
    assert fitted_to(get_recipe("short-taichinet"), manifest).options["num_classes"] == 2
    with pytest.raises(SettingError, match=r"DE-ResUnet .* can only represent regions of which each contains the next"):
        fitted_to(get_recipe("short-de-resunet"), manifest)
    (folder / "regions.txt").write_text("nested: cyst, tumour")
    nested = open_dataset(folder)
    np.testing.assert_array_equal(nested.region_masks(nested.samples[0])[0], tumour)
    assert nested.content_digest() != manifest.content_digest()
    with pytest.raises(DataError, match=r"folder has the regions cyst, tumour, other has cyst, tumour \(separate\)"):
        join_manifests([nested, replace(manifest, name="other")])


def problems_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        open_dataset(f"folder={folder}")
    return caught.value.problems


def test_ambiguous_folders_and_files_are_errors_that_name_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", *PLAIN["images, masks"])
    shutil.copytree(folder / "images", folder / "Imgs")
    assert any("exists too. Keep one of them." in problem for problem in problems_of(folder))
    folder = write(tmp_path / "b", *PLAIN["suffix mask"])
    shutil.copy(folder / "s1_mask.png", folder / "s1_gt.png")
    assert "image 's1' has masks with the suffixes gt and mask" in problems_of(folder)[0]
    folder = write(tmp_path / "c", *PLAIN["suffix mask"])
    shutil.copy(folder / "s1_mask.png", folder / "s1_mask_gt.png")
    assert "may be the mask of 's1', or the image of 's1_mask_mask'" in problems_of(folder)[0]
    folder = write(tmp_path / "d", *PLAIN["suffix mask"])
    write(folder / "more", *PLAIN["suffix mask"])
    assert "more: contains images, but so does" in problems_of(folder)[0]
    folder = write(tmp_path / "e", *CLASSES["class below"])
    write(folder, lambda n: f"images/benign/deep/s{n}.png", lambda n: f"masks/benign/deep/s{n}.png")
    assert "deep: is below a class folder" in problems_of(folder)[0]


def test_unknown_layout_is_shown_beside_the_expected_ones(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", lambda n: f"scans/s{n}.png", lambda n: f"truth/t{n}.png")
    for spec in (str(folder), f"clinic={folder}"):
        with pytest.raises(DataError) as caught:
            open_dataset(spec)
        lines = [line.split() for line in caught.value.summary.splitlines()]
        assert ["expected", "found"] in lines
        assert ["images/", "scans/"] in lines
        assert ["...", "2", "more"] in [line[-3:] for line in lines]


def test_own_folder_has_the_name_that_the_user_gives(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", *CLASSES["class, flat"])
    manifest = open_dataset(f"clinic={folder}")
    assert manifest.name == "clinic"
    assert manifest.samples == open_dataset(folder).samples
    assert split_spec(f"clinic={folder}")[0] == named_dataset("clinic")
    assert named_dataset("clinic").title == "clinic"
    assert named_dataset("busi") is CATALOGUE["busi"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("fodler", "Did you mean 'folder'"), ("bsui", "Did you mean 'busi'"), ("my+clinic", "cannot be the name")],
)
def test_name_like_a_known_one_or_not_a_name_is_refused(name: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "own", *PLAIN["images, masks"])
    with pytest.raises(SettingError, match=message):
        open_dataset(f"{name}={folder}")


def test_own_images_in_a_layout_of_several_data_sets_need_a_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", lambda n: f"image/s{n}.png", lambda n: f"mask/s{n}.png")
    with pytest.raises(DataError, match="For your own images, choose a name: NAME="):
        open_dataset(folder)
    assert_same_pixels(open_dataset(f"clinic={folder}"))
