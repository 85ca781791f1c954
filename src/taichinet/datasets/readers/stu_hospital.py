"""STU-Hospital, breast ultrasound: images and masks side by side in one folder."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import Manifest, Mask, Sample
from taichinet.datasets.readers.layout import find_folder, image_files, listing, open_top, verified
from taichinet.errors import DataError

NAME = "stu-hospital"
LABEL = "lesion"
# Its authors' repository, and the archive of it, hold the folder Hospital beside others.
FOLDERS = ("Hospital", "STU-Hospital/Hospital", "STU-Hospital-master/Hospital")

_REMEDY = "Pass the folder Hospital with Test_Image_1.png and mask_1.png in it, or its zip (see docs/data.md)."
_FILE_NAME = re.compile(r"(?:(?P<image>test_image)|mask)_(?P<number>[1-9][0-9]*)", re.IGNORECASE)


def recognises(folder: Traversable) -> bool:
    """Whether an image and a mask of its name are in `folder`."""
    names = {entry.name.lower() for entry in listing(folder)}
    return any(name.replace("test_image_", "mask_") in names for name in names if name.startswith("test_image_"))


def read_stu_hospital(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of STU-Hospital under `root`: Hospital/Test_Image_N.png, mask_N.png, keys "Test_Image_N".

    Neither classes nor patients are given. There are no normal images: `include_normal` changes nothing.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no STU-Hospital: no pair Test_Image_1.png and mask_1.png is in it. {_REMEDY}")
    problems: list[str] = []
    images: dict[int, Traversable] = {}
    masks: dict[int, Traversable] = {}
    for stem, file in image_files(folder, problems).items():
        match = _FILE_NAME.fullmatch(stem)
        of_kind = masks if match is None or match["image"] is None else images
        if match is None or int(match["number"]) in of_kind:
            problems.append(
                f"{file}: foreign to STU-Hospital; only Test_Image_N.png and mask_N.png belong here. Move it elsewhere."
            )
        else:
            of_kind[int(match["number"])] = file
    problems += [f"{images[n]}: has no mask 'mask_{n}.png'." for n in images if n not in masks]
    problems += [f"{masks[n]}: has no image 'Test_Image_{n}.png'." for n in masks if n not in images]
    samples = [Sample(f"Test_Image_{n}", LABEL, images[n], (Mask(masks[n]),)) for n in sorted(images) if n in masks]
    return Manifest(NAME, verified("STU-Hospital", root, samples, problems, _REMEDY, verify))


DATASET = Dataset(
    name=NAME,
    title="STU-Hospital",
    read=read_stu_hospital,
    recognises=recognises,
    licence="not stated",
    source="https://github.com/xbhlk/STU-Hospital",
    citation=(
        "Zhuang, Li, Joseph Raj, Mahesh, Qiu: An RDAU-NET model for lesion segmentation in breast ultrasound images. "
        "PLOS ONE 14(8), e0221535, 2019, https://doi.org/10.1371/journal.pone.0221535"
    ),
    folders=FOLDERS,
    images=42,
)
