"""BUS-BRA, breast ultrasound of 1,064 women, with the five folds of its authors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import holds_folders, image_files, pair_by_stem
from taichinet.datasets.readers.tables import read_rows
from taichinet.datasets.sample import Mask, Sample
from taichinet.errors import DataError

CLASSES = ("benign", "malignant")
CASES = "bus_data.csv"
FOLDS = "5-fold-cv.csv"

_COUNT = 5  # folds of FOLDS


def _list_samples(reading: Reading) -> Manifest:
    """All samples: Images/bus_0001-l.png, Masks/mask_0001-l.png, keys "bus_0001-l".

    bus_data.csv has the class (ID, Pathology) and the patient (Case), of whom there may be both sides; 5-fold-cv.csv
    has the fold (ID, kFold), counted from 1 there and from 0 here. 10-fold-cv.csv is ignored.
    """
    folder, problems = reading.folder, reading.problems
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
    return Manifest("bus-bra", tuple(samples))


def _by_number(folder: Traversable, prefix: str, problems: list[str]) -> dict[str, Traversable]:
    """The images of `folder` by what follows `prefix` in their names, e.g. "0001-l"."""
    files: dict[str, Traversable] = {}
    for stem, file in image_files(folder, problems).items():
        if stem.startswith(prefix):
            files[stem.removeprefix(prefix)] = file
        else:
            problems.append(
                f"{file}: does not belong to BUS-BRA, which has only '{prefix}NNNN-S.png' here. Move it elsewhere."
            )
    return files


def _rows_by_id(
    file: Traversable, columns: tuple[str, ...], images: Mapping[str, Traversable], problems: list[str]
) -> dict[str, dict[str, str]]:
    """The valid rows of a table by ID; `problems` receives faults, and images and rows without each other."""
    try:
        rows = read_rows(file, columns)
    except DataError as fault:
        problems.append(str(fault))
        return {}
    valid: dict[str, dict[str, str]] = {}
    named = {f"bus_{number}": image for number, image in images.items()}
    listed: set[str] = set()
    for row in rows:
        faults = list(_faults(row))
        if row["ID"] in listed:
            faults.append("its ID is in a row above too")
        if row["ID"] not in named:
            faults.append("there is no such image in Images")
        problems += [f"{file}: row '{row['ID']}': {fault}." for fault in faults]
        if not faults:
            valid[row["ID"]] = row
        listed.add(row["ID"])
    problems += [f"{image}: has no row in {file.name}." for key, image in named.items() if key not in listed]
    return valid


def _faults(row: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with one row of either table."""
    if row.get("Pathology", CLASSES[0]).lower() not in CLASSES:
        yield f"Pathology is '{row['Pathology']}', neither {' nor '.join(CLASSES)}"
    if row.get("kFold", "1") not in {str(fold) for fold in range(1, _COUNT + 1)}:
        yield f"kFold is '{row['kFold']}', not 1 to {_COUNT}"
    if not row.get("Case", "1"):
        yield "Case is empty, so the patient is unknown"


DATASET = Dataset(
    name="bus-bra",
    title="BUS-BRA",
    list_samples=_list_samples,
    recognises=lambda folder: holds_folders(folder, "Images", "Masks") and (folder / CASES).is_file(),
    layout=f"Images, Masks, {CASES} and {FOLDS} in it",
    licence="CC BY 4.0",
    source="https://doi.org/10.5281/zenodo.8231412",
    organ="breast",
    citation=(
        "Gómez-Flores, Gregorio-Calas, Coelho de Albuquerque Pereira: BUS-BRA: A breast ultrasound dataset for "
        "assessing computer-aided diagnosis systems. Medical Physics 51(4), 3110-3123, 2024, "
        "https://doi.org/10.1002/mp.16812"
    ),
    folders=("BUSBRA", "BUS-BRA", "BUSBRA/BUSBRA"),
    images=1875,
)
