"""The data sets by name: the catalogue, its registration, and `open_dataset` for a folder or zip file."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from taichinet.datasets.bundle.read import is_bundle, read_record
from taichinet.datasets.dataset import Dataset
from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers import breast, bus_bra, bus_uclm, busi, folder, fundus, monai, nnunet, paired, tn3k
from taichinet.datasets.readers.layout import find_folder, open_top
from taichinet.datasets.readers.tree import trees_side_by_side
from taichinet.errors import DataError, SettingError, unknown_name
from taichinet.storage.documents import shortened

CATALOGUE: dict[str, Dataset] = {}
"""All registered data sets by name, in the order in which they are listed."""

_REMEDY = (
    "Pass the folder or zip of a data set as its authors distribute it, a complete bundle, or NAME=FOLDER (see "
    "`taichinet data list`)."
)
_OWN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SIMILAR = 0.7  # from which a name is a spelling mistake rather than the name of an own folder


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


def named_dataset(name: str) -> Dataset:
    """The data set called `name`; if the catalogue has none, that of the user's own folder of this name."""
    return CATALOGUE[name] if name in CATALOGUE else folder.DATASET.called(name)


def organ_of(names: str) -> str:
    """The organ of a data set, or of several joined as "a+b"; empty if it is not known or they show different ones."""
    organs = {named_dataset(name).organ for name in names.split("+")}
    return organs.pop() if len(organs) == 1 else ""


def _own_dataset(name: str, path: Path) -> Dataset:
    """The data set of the user's own folder at `path`, which is called `name`.

    Raises:
        DataError: The path does not exist.
        SettingError: The name cannot be that of a folder, or is similar to that of a data set in the catalogue.
    """
    if get_close_matches(name.lower(), CATALOGUE, n=1, cutoff=_SIMILAR):
        raise SettingError(
            f"{unknown_name('data set', name, list_datasets())} The name of your own folder must be less similar to "
            "these."
        )
    if not _OWN_NAME.fullmatch(name):
        raise SettingError(
            f"'{shortened(name)}' cannot be the name of a data set. Use at most 64 letters, digits, '.', '_' and '-', "
            "and begin with a letter or digit."
        )
    if not path.exists():
        raise DataError(f"{path} does not exist. {_REMEDY}")
    return folder.DATASET.called(name)


def split_spec(spec: str | Path) -> tuple[Dataset, Path]:
    """The data set and the path that a user means.

    Args:
        spec: "NAME=PATH", or a path with the layout of one data set. An existing path is never split at "=". A NAME
            that is not in the catalogue becomes the name of the user's own folder PATH.

    Returns:
        The data set and its path.

    Raises:
        DataError: The layout is unknown, or several data sets have it and the name of the folder does not decide.
        SettingError: NAME is similar to that of a data set, or cannot be a name.
    """
    text = str(spec)
    name, equals, path = text.partition("=")
    if equals and not Path(text).exists():
        if name not in CATALOGUE and "/" in name + path and not Path(path).exists():
            raise DataError(f"{text} does not exist, and no data set is called '{name}'. {_REMEDY}")
        return CATALOGUE[name] if name in CATALOGUE else _own_dataset(name, Path(path)), Path(path)
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
            raise DataError(
                f"{root} is a bundle of data set '{name}', which is not registered. If it is your own folder, pass "
                f"{name}={root}. Otherwise register it with register_dataset, as where the bundle was made."
            )
        return CATALOGUE[name]
    top = open_top(root, _REMEDY)
    matching = [entry for entry in CATALOGUE.values() if find_folder(top, entry.folders, entry.recognises) is not None]
    likely = [entry for entry in matching if not entry.fallback] or matching
    if len(likely) > 1:
        names = {root.resolve().name.lower(), root.stem.lower(), *(entry.name.lower() for entry in top.iterdir())}
        likely = [entry for entry in likely if names & {usual.lower() for usual in entry.folders}] or likely
    if not likely:
        trees = trees_side_by_side(folder.DATASET.expected, top)
        raise DataError(
            f"{root} has the layout of no known data set ({', '.join(list_datasets())}). {_REMEDY} For your own "
            f"images, the folder must have one of these layouts (see docs/compare/own-folder.md):\n{trees}"
        )
    if len(likely) > 1:
        own = any(entry.own for entry in matching)
        raise DataError(
            f"{root} has a layout that several data sets share ({', '.join(entry.name for entry in matching)}). "
            f"Specify one, e.g. {likely[0].name}={root}."
            + (f" For your own images, choose a name: NAME={root}." if own else "")
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
