"""DDTI, thyroid nodules: one folder of images, one of masks of the same name."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import SCREEN, Dataset
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import find_folder, holds_folders, open_top, paired_samples, verified
from taichinet.errors import DataError

NAME = "ddti"
LABEL = "nodule"
FOLDERS = ("DDTI",)

_REMEDY = "Pass the folder with image and mask in it, or its zip (see docs/data.md)."


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds image/ and mask/."""
    return holds_folders(folder, "image", "mask")


def read_ddti(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of the processed release of DDTI under `root`: image/N.PNG, mask/N.PNG, keys "N".

    That release renumbered the images, so patients are lost; some images are identical. A table beside the folders
    is passed over. There are no normal images: `include_normal` changes nothing.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no DDTI: no folders image and mask are in it. {_REMEDY}")
    problems: list[str] = []
    samples = paired_samples(folder / "image", folder / "mask", LABEL, problems)
    return Manifest(NAME, verified("DDTI", root, samples, problems, _REMEDY, verify))


DATASET = Dataset(
    name=NAME,
    title="DDTI",
    read=read_ddti,
    recognises=recognises,
    licence="open access, terms not formally stated",
    source="http://cimalab.unal.edu.co/?lang=en&mod=program&id=5",
    citation=(
        "Pedraza, Vargas, Narváez, Durán, Muñoz, Romero: An open access thyroid ultrasound image database. "
        "SIPAIM 2015, https://doi.org/10.1117/12.2073532"
    ),
    folders=FOLDERS,
    copies=SCREEN,
)
