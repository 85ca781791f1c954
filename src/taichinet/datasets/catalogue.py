"""The data sets by name: the catalogue, its registration, and `open_dataset` for a folder or zip file."""

from __future__ import annotations

from pathlib import Path

from taichinet.datasets.bundle.read import is_bundle, read_record
from taichinet.datasets.dataset import Dataset
from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers import breast, bus_bra, bus_uclm, busi, folder, fundus, monai, nnunet, paired, tn3k
from taichinet.datasets.readers.layout import find_folder, open_top
from taichinet.errors import DataError, SettingError, unknown_name

CATALOGUE: dict[str, Dataset] = {}
"""All registered data sets by name, in the order in which they are listed."""

_REMEDY = (
    "Pass the folder or zip of a data set as its authors distribute it, a complete bundle, or NAME=FOLDER (see "
    "`taichinet data list`)."
)
_REGISTER = "Register it with register_dataset, as where the bundle was made."


def register_dataset(dataset: Dataset) -> None:
    """Add a data set to the catalogue, so that all commands accept it.

    Args:
        dataset: The entry. Its `list_samples` receives a `Reading` and returns a `Manifest`.

    Raises:
        SettingError: The catalogue has a data set of this name.

    Example:
        >>> from taichinet.datasets.dataset import Dataset
        >>> from taichinet.datasets.manifest import Manifest
        >>> from taichinet.datasets.readers.layout import holds_folders, paired_samples
        >>> def list_samples(reading):
        ...     pairs = paired_samples(reading.folder / "scans", reading.folder / "lesions", "lesion", reading.problems)
        ...     return Manifest("clinic", tuple(pairs))
        >>> clinic = Dataset(
        ...     name="clinic",
        ...     title="Clinic",
        ...     list_samples=list_samples,
        ...     recognises=lambda folder: holds_folders(folder, "scans", "lesions"),
        ...     layout="scans/x.png and lesions/x.png",
        ...     licence="internal",
        ...     source="our clinic",
        ...     citation="none",
        ... )
        >>> register_dataset(clinic)
        >>> find_dataset("clinic").title
        'Clinic'
        >>> del CATALOGUE["clinic"]
    """
    if dataset.name in CATALOGUE:
        raise SettingError(f"There already is a data set '{dataset.name}'. Register it under another name.")
    CATALOGUE[dataset.name] = dataset


for _dataset in (
    *(busi.DATASET, paired.UDIAT, bus_bra.DATASET, bus_uclm.DATASET, breast.DATASET, paired.STU_HOSPITAL),
    *(paired.DDTI, paired.TN_SCUI2020, tn3k.DATASET),  # thyroid ultrasound
    *(fundus.REFUGE, fundus.DRISHTI_GS),
    *(nnunet.DATASET, monai.DATASET),  # formats of other toolkits
    folder.DATASET,
):
    register_dataset(_dataset)


def list_datasets() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(CATALOGUE)


def find_dataset(name: str) -> Dataset:
    """The data set called `name`.

    Raises:
        SettingError: There is none; the message suggests the most similar name.
    """
    if name not in CATALOGUE:
        raise unknown_name("data set", name, list_datasets())
    return CATALOGUE[name]


def split_spec(spec: str | Path) -> tuple[Dataset, Path]:
    """The data set and the path that a user means.

    Args:
        spec: "NAME=PATH", or a path with the layout of one data set. An existing path is never split at "=".

    Returns:
        The data set and its path.

    Raises:
        DataError: The layout is unknown, or several data sets have it and the name of the folder does not decide.
        SettingError: There is no data set called NAME.
    """
    text = str(spec)
    name, equals, path = text.partition("=")
    if equals and not Path(text).exists():
        if name not in CATALOGUE and "/" in name + path and not Path(path).exists():
            raise DataError(f"{text} does not exist, and no data set is called '{name}'. {_REMEDY}")
        return find_dataset(name), Path(path)
    return recognise(Path(text)), Path(text)


def recognise(root: Path) -> Dataset:
    """The data set whose layout the folder or zip file `root` has, whose index file it is, or that it bundles.

    Raises:
        DataError: The layout is unknown, or several data sets have it and the name of the folder does not decide.
    """
    if root.is_file():
        indexed = [entry for entry in CATALOGUE.values() if root.suffix.lower() in entry.index_endings]
        if len(indexed) == 1:
            return indexed[0]
    if is_bundle(root):
        name = read_record(root).dataset
        if name not in CATALOGUE:
            raise DataError(f"{root} is a bundle of data set '{name}', which is not registered. {_REGISTER}")
        return CATALOGUE[name]
    top = open_top(root, _REMEDY)
    matching = [entry for entry in CATALOGUE.values() if find_folder(top, entry.folders, entry.recognises) is not None]
    likely = [entry for entry in matching if not entry.fallback] or matching
    if len(likely) > 1:
        names = {root.resolve().name.lower(), root.stem.lower(), *(entry.name.lower() for entry in top.iterdir())}
        likely = [entry for entry in likely if names & {folder.lower() for folder in entry.folders}] or likely
    if not likely:
        raise DataError(f"{root} has the layout of no known data set ({', '.join(list_datasets())}). {_REMEDY}")
    if len(likely) > 1:
        raise DataError(
            f"{root} has a layout that several data sets share ({', '.join(entry.name for entry in matching)}). "
            f"Specify one, e.g. {likely[0].name}={root}."
        )
    return likely[0]


def open_dataset(
    spec: str | Path, include_normal: bool = True, verify: bool = True, files: DecodedFiles | None = None
) -> Manifest:
    """Read a data set.

    Args:
        spec: "NAME=PATH", or a path with the layout of one data set.
        include_normal: Whether to include images without a lesion.
        verify: Whether to decode every file; otherwise only names and pairs are checked.
        files: Keeps what later steps need of the decoded files; by default thumbnails, digests and masks.

    Returns:
        The samples in a fixed order.

    Raises:
        DataError: There is no such data set, or it has faults. All of them are named.
        SettingError: There is no data set called NAME.
    """
    dataset, path = split_spec(spec)
    return dataset.read(path, include_normal, verify, files)
