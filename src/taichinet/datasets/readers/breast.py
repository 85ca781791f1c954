"""BrEaST (Breast-Lesions-USG), breast ultrasound of 256 women, verified by biopsy or follow-up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import NORMAL_CLASS, Manifest, Mask, Sample
from taichinet.datasets.readers.layout import find_folder, image_files, listing, natural_order, open_top, verified
from taichinet.datasets.readers.tables import read_rows
from taichinet.errors import DataError

NAME = "breast"
FOLDERS = ("BrEaST-Lesions_USG", "BrEaST-Lesions-USG", "Breast-Lesions-USG", "BrEaST")
CLASSES = ("benign", "malignant", "normal")

_REMEDY = "Pass the folder with the images (case001.png, case001_tumor.png) and the clinical-data .xlsx, or its zip."
_IMAGE = re.compile(r"case[0-9]+\.png", re.IGNORECASE)
_TABLE = re.compile(r".*clinical.*\.(xlsx|csv)", re.IGNORECASE)
_OTHER = re.compile(r"case[0-9]+_other[0-9]*")
_COLUMNS = ("Image_filename", "Mask_tumor_filename", "Classification")


def recognises(folder: Traversable) -> bool:
    """Whether the images and the clinical data are in `folder`, or in folders in it."""
    return _holder(folder, _IMAGE) is not None and _holder(folder, _TABLE) is not None


def read_breast(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of BrEaST under `root`: case001.png, case001_tumor.png, keys "case001", by number.

    The clinical data (an .xlsx, or a .csv saved from it) lie beside the images or beside their folder. The columns
    Image_filename, Mask_tumor_filename (several names joined by "&") and Classification tell what belongs together.
    Only the tumor masks are the lesion, whose class it is; case001_other1.png and the like show further findings and
    are left out. Normal images have no mask, and `include_normal=False` leaves them out. Each image shows another
    woman, as its authors say, so the case is the patient.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    pictures, tables = (None, None) if folder is None else (_holder(folder, _IMAGE), _holder(folder, _TABLE))
    if pictures is None or tables is None:
        raise DataError(f"{root} holds no BrEaST: no images case001.png, ... with clinical data are in it. {_REMEDY}")
    table = next(file for file in listing(tables) if _TABLE.fullmatch(file.name))
    problems: list[str] = []
    files = image_files(pictures, problems)
    try:
        rows = read_rows(table, _COLUMNS)
    except DataError as fault:
        problems.append(str(fault))
        rows = []
    samples: dict[str, Sample] = {}
    named: set[str] = set()
    for row in rows:
        key, masks = _stem(row["Image_filename"]), _masks(row)
        faults = _faults(row, files)
        if key in samples:
            faults.append("this image stands in a row above too")
        problems += [f"{table}: row '{row['Image_filename']}': {fault}." for fault in faults]
        named |= {key, *masks}
        if not faults:
            label = row["Classification"].lower()
            samples[key] = Sample(key, label, files[key], tuple(Mask(files[mask]) for mask in masks), patient=key)
    if rows:
        alone = (file for stem, file in files.items() if stem not in named and not _OTHER.fullmatch(stem))
        problems += [f"{file}: is not named in {table.name}." for file in alone]
    ordered = [
        samples[key]
        for key in sorted(samples, key=natural_order)
        if include_normal or samples[key].label != NORMAL_CLASS
    ]
    whole = verified("BrEaST", root, ordered, problems, _REMEDY, verify)
    return Manifest(NAME, whole, normal_left_out=len(samples) - len(ordered))


def _holder(folder: Traversable, pattern: re.Pattern[str]) -> Traversable | None:
    """The first of `folder` and the folders in it that holds a file whose name fits `pattern`."""
    places = [folder, *(entry for entry in listing(folder) if entry.is_dir())]
    return next((place for place in places if any(pattern.fullmatch(file.name) for file in listing(place))), None)


def _stem(name: str) -> str:
    return name.removesuffix(".png")


def _masks(row: Mapping[str, str]) -> list[str]:
    """The stems of the tumor masks that a row names."""
    return [_stem(name.strip()) for name in row["Mask_tumor_filename"].split("&") if name.strip()]


def _faults(row: Mapping[str, str], files: Mapping[str, Traversable]) -> list[str]:
    """What one row says that cannot be."""
    label, masks = row["Classification"].lower(), _masks(row)
    faults = [f"there is no {stem}.png" for stem in (_stem(row["Image_filename"]), *masks) if stem not in files]
    if label not in CLASSES:
        faults.append(f"Classification is '{row['Classification']}', none of {', '.join(CLASSES)}")
    elif bool(masks) == (label == NORMAL_CLASS):
        faults.append(f"Classification is '{label}', but Mask_tumor_filename is '{row['Mask_tumor_filename']}'")
    return faults


DATASET = Dataset(
    name=NAME,
    title="BrEaST",
    read=read_breast,
    recognises=recognises,
    licence="CC BY 4.0",
    source="https://doi.org/10.7937/9WKK-Q141",
    citation=(
        "Pawłowska, Ćwierz-Pieńkowska, Domalik, Jaguś, Kasprzak, Matkowski, Fura, Nowicki, Żołek: Curated benchmark "
        "dataset for ultrasound based breast lesion analysis. Scientific Data 11, 148, 2024, "
        "https://doi.org/10.1038/s41597-024-02984-z"
    ),
    folders=FOLDERS,
    has_normal=True,
    images=256,
)
