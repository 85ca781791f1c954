"""BrEaST (Breast-Lesions-USG), breast ultrasound of 256 women, verified by biopsy or follow-up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import image_files, listing, natural_order
from taichinet.datasets.readers.tables import read_rows
from taichinet.datasets.sample import NORMAL_CLASS, Mask, Sample
from taichinet.errors import DataError

CLASSES = ("benign", "malignant", "normal")

_IMAGE = re.compile(r"case[0-9]+\.png", re.IGNORECASE)
_TABLE = re.compile(r".*clinical.*\.(xlsx|csv)", re.IGNORECASE)
_OTHER = re.compile(r"case[0-9]+_other[0-9]*")
_COLUMNS = ("Image_filename", "Mask_tumor_filename", "Classification")


def _list_samples(reading: Reading) -> Manifest:
    """All samples by number: case001.png, case001_tumor.png, keys "case001".

    The clinical data (an .xlsx, or a .csv exported from it) are beside the images or beside their folder. The columns
    Image_filename, Mask_tumor_filename (several names joined by "&") and Classification say what belongs together.
    Only tumor masks are read; case001_other1.png and the like show further findings. Normal images have no mask.
    According to the authors, each image shows another patient, so the case is the patient.
    """
    images, tables = _holder(reading.folder, _IMAGE), _holder(reading.folder, _TABLE)
    if images is None or tables is None:  # does not occur after `recognises`
        raise DataError(f"{reading.root} has no images or no clinical data.")
    table = next(file for file in listing(tables) if _TABLE.fullmatch(file.name))
    problems = reading.problems
    files = image_files(images, problems)
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
            faults.append("this image is in a row above too")
        problems += [f"{table}: row '{row['Image_filename']}': {fault}." for fault in faults]
        named |= {key, *masks}
        if not faults:
            label = row["Classification"].lower()
            samples[key] = Sample(key, label, files[key], tuple(Mask(files[mask]) for mask in masks), patient=key)
    if rows:
        unnamed = (file for stem, file in files.items() if stem not in named and not _OTHER.fullmatch(stem))
        problems += [f"{file}: is not named in {table.name}." for file in unnamed]
    whole = Manifest("breast", tuple(samples[key] for key in sorted(samples, key=natural_order)))
    return whole if reading.include_normal else whole.without_normal()


def _holder(folder: Traversable, pattern: re.Pattern[str]) -> Traversable | None:
    """The first of `folder` and the folders in it with a file whose name matches `pattern`."""
    places = [folder, *(entry for entry in listing(folder) if entry.is_dir())]
    return next((place for place in places if any(pattern.fullmatch(file.name) for file in listing(place))), None)


def _stem(name: str) -> str:
    return name.removesuffix(".png")


def _masks(row: Mapping[str, str]) -> list[str]:
    """The stems of the tumor masks that a row names."""
    return [_stem(name.strip()) for name in row["Mask_tumor_filename"].split("&") if name.strip()]


def _faults(row: Mapping[str, str], files: Mapping[str, Traversable]) -> list[str]:
    """What is wrong with one row."""
    label, masks = row["Classification"].lower(), _masks(row)
    faults = [f"there is no {stem}.png" for stem in (_stem(row["Image_filename"]), *masks) if stem not in files]
    if label not in CLASSES:
        faults.append(f"Classification is '{row['Classification']}', not one of {', '.join(CLASSES)}")
    elif bool(masks) == (label == NORMAL_CLASS):
        faults.append(f"Classification is '{label}', but Mask_tumor_filename is '{row['Mask_tumor_filename']}'")
    return faults


DATASET = Dataset(
    name="breast",
    title="BrEaST",
    list_samples=_list_samples,
    recognises=lambda folder: all(_holder(folder, pattern) is not None for pattern in (_IMAGE, _TABLE)),
    layout="the images (case001.png, case001_tumor.png) and the clinical-data .xlsx",
    licence="CC BY 4.0",
    source="https://doi.org/10.7937/9WKK-Q141",
    organ="breast",
    citation=(
        "Pawłowska, Ćwierz-Pieńkowska, Domalik, Jaguś, Kasprzak, Matkowski, Fura, Nowicki, Żołek: Curated benchmark "
        "dataset for ultrasound based breast lesion analysis. Scientific Data 11, 148, 2024, "
        "https://doi.org/10.1038/s41597-024-02984-z"
    ),
    folders=("BrEaST-Lesions_USG", "BrEaST-Lesions-USG", "Breast-Lesions-USG", "BrEaST"),
    has_normal=True,
    images=256,
)
