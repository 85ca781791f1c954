"""The data sets by name: list_datasets, find_dataset, and open_dataset for a folder or zip of a known layout."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers import (
    breast,
    bus_bra,
    bus_uclm,
    busi,
    ddti,
    drishti_gs,
    folder,
    monai,
    nnunet,
    refuge,
    stu_hospital,
    tn3k,
    tn_scui2020,
    udiat,
)
from taichinet.datasets.readers.layout import find_folder, open_top
from taichinet.errors import DataError, unknown_name

_READERS = (
    *(busi, udiat, bus_bra, bus_uclm, breast, stu_hospital),  # breast ultrasound
    *(ddti, tn_scui2020, tn3k),  # thyroid ultrasound
    *(refuge, drishti_gs),  # fundus
    *(nnunet, monai),  # formats of other toolkits
    folder,
)
CATALOGUE: dict[str, Dataset] = {reader.DATASET.name: reader.DATASET for reader in _READERS}

_REMEDY = "Pass a data set's folder or zip as its authors distribute it, or NAME=FOLDER (see `taichinet data list`)."


def list_datasets() -> tuple[str, ...]:
    """Names that `open_dataset` takes before the equals sign."""
    return tuple(CATALOGUE)


def find_dataset(name: str) -> Dataset:
    """The catalogue's entry of data set `name`; SettingError suggests the nearest."""
    if name not in CATALOGUE:
        raise unknown_name("data set", name, list_datasets())
    return CATALOGUE[name]


def split_spec(spec: str | Path) -> tuple[Dataset, Path]:
    """The data set and the path of `spec`: "NAME=PATH", or a path whose layout only one data set has.

    A path that exists is taken as it stands, whatever signs are in it. Where several data sets have the layout, the
    folder's own name decides; DataError asks for NAME= where it does not, and says so of an unknown layout.
    """
    text = str(spec)
    name, equals, path = text.partition("=")
    if equals and not Path(text).exists():
        if name not in CATALOGUE and "/" in name + path and not Path(path).exists():
            raise DataError(f"There is no {text}, and no data set is called '{name}'. {_REMEDY}")
        return find_dataset(name), Path(path)
    return recognise(Path(text)), Path(text)


def recognise(root: Path) -> Dataset:
    """The one data set whose layout the folder or zip at `root` has, or whose kind of index file `root` is.

    A fallback is taken only where no other has the layout.
    """
    if root.is_file():
        indexed = [entry for entry in CATALOGUE.values() if root.suffix.lower() in entry.index_endings]
        if len(indexed) == 1:
            return indexed[0]
    top = open_top(root, _REMEDY)
    alike = [entry for entry in CATALOGUE.values() if find_folder(top, entry.folders, entry.recognises) is not None]
    likely = [entry for entry in alike if not entry.fallback] or alike
    if len(likely) > 1:
        names = _folder_names(root, top)
        likely = [entry for entry in likely if names & {folder.lower() for folder in entry.folders}] or likely
    if not likely:
        raise DataError(f"{root} has the layout of no known data set ({', '.join(list_datasets())}). {_REMEDY}")
    if len(likely) > 1:
        raise DataError(
            f"{root} has a layout that several data sets share ({', '.join(entry.name for entry in alike)}). "
            f"Say which, e.g. {likely[0].name}={root}."
        )
    return likely[0]


def open_dataset(spec: str | Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """Read the data set of `spec` (see `split_spec`); the reader's DataError names every fault at once."""
    dataset, path = split_spec(spec)
    return dataset.read(path, include_normal, verify)


def _folder_names(root: Path, top: Traversable) -> set[str]:
    """The names by which `root` may be known: its own, and those of the folders in it."""
    inside = top.iterdir() if top.is_dir() else ()
    return {root.resolve().name.lower(), root.stem.lower(), *(entry.name.lower() for entry in inside)}
