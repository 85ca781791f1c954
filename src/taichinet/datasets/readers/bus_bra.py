"""BUS-BRA, breast ultrasound of 1,064 women, with its authors' five folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import Manifest, Mask, Sample
from taichinet.datasets.readers.layout import find_folder, image_files, open_top, pair_by_stem, verified
from taichinet.datasets.readers.tables import read_rows
from taichinet.errors import DataError

NAME = "bus-bra"
FOLDERS = ("BUSBRA", "BUS-BRA", "BUSBRA/BUSBRA")
CLASSES = ("benign", "malignant")
CASES = "bus_data.csv"
FOLDS = "5-fold-cv.csv"

_REMEDY = f"Pass the folder BUSBRA (with Images, Masks, {CASES} and {FOLDS} in it) or its zip."
_COUNT = 5  # folds of FOLDS


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds Images/, Masks/ and the table of cases."""
    return (folder / "Images").is_dir() and (folder / "Masks").is_dir() and (folder / CASES).is_file()


def read_bus_bra(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of BUS-BRA under `root`: Images/bus_0001-l.png, Masks/mask_0001-l.png, keys "bus_0001-l".

    bus_data.csv gives the class (ID, Pathology) and the patient (Case), of whom there may be both sides; 5-fold-cv.csv
    gives the fold (ID, kFold), counted from 1 there and from 0 here. 10-fold-cv.csv is passed over. There are no
    normal images: `include_normal` changes nothing.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no BUS-BRA: no folders Images and Masks with {CASES} are in it. {_REMEDY}")
    problems: list[str] = []
    images = _by_number(folder / "Images", "bus_", problems)
    masks = _by_number(folder / "Masks", "mask_", problems)
    cases = _rows_by_id(folder / CASES, ("ID", "Case", "Pathology"), images, problems)
    folds = _rows_by_id(folder / FOLDS, ("ID", "kFold"), images, problems)
    samples: list[Sample] = []
    for number, image, mask in pair_by_stem(images, masks, folder / "Masks", problems):
        key = f"bus_{number}"
        case, fold = cases.get(key), folds.get(key)
        if case is not None and fold is not None:
            label = case["Pathology"].lower()
            samples.append(Sample(key, label, image, (Mask(mask),), case["Case"], fold=int(fold["kFold"]) - 1))
    return Manifest(NAME, verified("BUS-BRA", root, samples, problems, _REMEDY, verify))


def _by_number(folder: Traversable, prefix: str, problems: list[str]) -> dict[str, Traversable]:
    """The pictures of `folder` by what follows `prefix` in their names, "0001-l"."""
    found: dict[str, Traversable] = {}
    for stem, file in image_files(folder, problems).items():
        if stem.startswith(prefix):
            found[stem.removeprefix(prefix)] = file
        else:
            problems.append(
                f"{file}: foreign to BUS-BRA; only files '{prefix}NNNN-S.png' belong here. Move it elsewhere."
            )
    return found


def _rows_by_id(
    file: Traversable, columns: tuple[str, ...], images: Mapping[str, Traversable], problems: list[str]
) -> dict[str, dict[str, str]]:
    """The sound rows of a table by ID; faults, and images and rows without each other, go to `problems`."""
    try:
        rows = read_rows(file, columns)
    except DataError as fault:
        problems.append(str(fault))
        return {}
    found: dict[str, dict[str, str]] = {}
    named = {f"bus_{number}": image for number, image in images.items()}
    listed: set[str] = set()
    for row in rows:
        faults = list(_faults(row))
        if row["ID"] in listed:
            faults.append("its ID stands in a row above too")
        if row["ID"] not in named:
            faults.append("there is no such image in Images")
        problems += [f"{file}: row '{row['ID']}': {fault}." for fault in faults]
        if not faults:
            found[row["ID"]] = row
        listed.add(row["ID"])
    problems += [f"{image}: has no row in {file.name}." for key, image in named.items() if key not in listed]
    return found


def _faults(row: Mapping[str, str]) -> Iterator[str]:
    """What the cells of one row, of either table, say that cannot be."""
    if row.get("Pathology", CLASSES[0]).lower() not in CLASSES:
        yield f"Pathology is '{row['Pathology']}', neither {' nor '.join(CLASSES)}"
    if row.get("kFold", "1") not in {str(fold) for fold in range(1, _COUNT + 1)}:
        yield f"kFold is '{row['kFold']}', not 1 to {_COUNT}"
    if not row.get("Case", "1"):
        yield "Case is empty, so the patient is unknown"


DATASET = Dataset(
    name=NAME,
    title="BUS-BRA",
    read=read_bus_bra,
    recognises=recognises,
    licence="CC BY 4.0",
    source="https://doi.org/10.5281/zenodo.8231412",
    citation=(
        "Gómez-Flores, Gregorio-Calas, Coelho de Albuquerque Pereira: BUS-BRA: A breast ultrasound dataset for "
        "assessing computer-aided diagnosis systems. Medical Physics 51(4), 3110-3123, 2024, "
        "https://doi.org/10.1002/mp.16812"
    ),
    folders=FOLDERS,
    images=1875,
)
