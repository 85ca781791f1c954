"""TN-SCUI2020, thyroid nodules: the training part of the challenge, laid out as DDTI's processed release is."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import find_folder, holds_folders, open_top, paired_samples, verified
from taichinet.datasets.readers.tables import ClassTable, with_classes
from taichinet.errors import DataError

NAME = "tn-scui2020"
LABEL = "nodule"
FOLDERS = ("TNSCUI2020_train", "tnscui2020_train", "TN-SCUI2020", "TNSCUI2020", "TNSCUI")

_REMEDY = "Pass the folder with image and mask in it, or its zip (see docs/data.md)."
_CLASSES = {"0": "benign", "1": "malignant"}


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds image/ and mask/; DDTI does too, so the folder's name decides."""
    return holds_folders(folder, "image", "mask")


def read_tn_scui2020(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of the training part of TN-SCUI2020 under `root`: image/N.PNG, mask/N.PNG, keys "N".

    The class stands in train.csv (columns ID and CATE: 0 benign, 1 malignant); where that is not there, it is
    "nodule". Names do not tell patients; the challenge's test part has no masks and is not read. There are no normal
    images: `include_normal` changes nothing.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no TN-SCUI2020: no folders image and mask are in it. {_REMEDY}")
    problems: list[str] = []
    samples = paired_samples(folder / "image", folder / "mask", LABEL, problems)
    table = ClassTable(folder / "train.csv", "ID", "CATE", _CLASSES)
    if table.file.is_file():
        samples = with_classes(samples, table, problems)
    return Manifest(NAME, verified("TN-SCUI2020", root, samples, problems, _REMEDY, verify))


DATASET = Dataset(
    name=NAME,
    title="TN-SCUI2020 (training part)",
    read=read_tn_scui2020,
    recognises=recognises,
    licence="not stated; given to those who registered for the challenge",
    source="https://tn-scui2020.grand-challenge.org",
    citation=(
        "Zhou, Jia, Ni, Noble, Huang, Tan, Van: Thyroid nodule segmentation and classification in ultrasound images. "
        "Zenodo, 2020, https://doi.org/10.5281/zenodo.3715942"
    ),
    folders=FOLDERS,
    images=3644,
)
