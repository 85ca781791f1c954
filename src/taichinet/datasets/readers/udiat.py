"""UDIAT, also called Dataset B: breast ultrasound with one mask an image, classes in a table beside the folders."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import find_folder, holds_folders, open_top, paired_samples, verified
from taichinet.datasets.readers.tables import ClassTable, with_classes
from taichinet.errors import DataError

NAME = "udiat"
LABEL = "lesion"
FOLDERS = ("BUS", "DatasetB", "Dataset_B", "Dataset B", "UDIAT")

_REMEDY = "Pass the folder with original and GT in it, or its zip (see docs/data.md)."
_CLASSES = {"benign": "benign", "malignant": "malignant"}


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds original/ and GT/."""
    return holds_folders(folder, "original", "GT")


def read_udiat(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of UDIAT under `root`: original/000001.png, GT/000001.png, keys "000001".

    The class stands in DatasetB.xlsx (columns Image and Type), as the authors distribute it, or in a labels.csv
    (image,label) where copies lack that; where neither is there, it is "lesion". Each image shows another
    woman, as its authors say. There are no normal images: `include_normal` changes nothing.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no UDIAT: no folders original and GT are in it. {_REMEDY}")
    problems: list[str] = []
    samples = paired_samples(folder / "original", folder / "GT", LABEL, problems)
    table = _table(folder)
    if table is not None:
        samples = with_classes(samples, table, problems)
    return Manifest(NAME, verified("UDIAT", root, samples, problems, _REMEDY, verify))


def _table(folder: Traversable) -> ClassTable | None:
    """The table of classes in `folder`; the authors' goes first."""
    tables = (
        ClassTable(folder / "DatasetB.xlsx", "Image", "Type", _CLASSES),
        ClassTable(folder / "labels.csv", "image", "label", _CLASSES),
    )
    return next((table for table in tables if table.file.is_file()), None)


DATASET = Dataset(
    name=NAME,
    title="UDIAT (Dataset B)",
    read=read_udiat,
    recognises=recognises,
    licence="for research, on a release agreement signed with its authors",
    source="https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php",
    citation=(
        "Yap, Pons, Martí, Ganau, Sentís, Zwiggelaar, Davison, Martí: Automated breast ultrasound lesions detection "
        "using convolutional neural networks. IEEE Journal of Biomedical and Health Informatics 22(4), 1218-1226, "
        "2018, https://doi.org/10.1109/JBHI.2017.2731873"
    ),
    folders=FOLDERS,
    images=163,
)
