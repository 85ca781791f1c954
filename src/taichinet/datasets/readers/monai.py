"""MONAI datalist: a JSON file that pairs images with label maps and may assign them to folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Any

from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.interchange.cases import Case, read_index, recorded_cases, repeated_keys
from taichinet.datasets.interchange.label_map import NOT_BACKGROUND, LabelScheme, checked_samples, read_scheme
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import listed_path_fault, listing
from taichinet.datasets.sample import Mask, Part, Sample
from taichinet.errors import DataError

LISTS: tuple[tuple[str, Part], ...] = (
    ("training", "train"),
    ("validation", "validation"),
    ("test", "test"),
    ("testing", "test"),  # its name in Auto3DSeg
)


def _list_samples(reading: Reading) -> Manifest:
    """All labelled images of a datalist.

    Each entry of "training", "validation" and "test" is {"image": path, "label": path, "fold": number}, paths relative
    to the folder of the JSON file and below it. A label is one label map, or a list of masks, one per region, outer
    before inner. "labels" ({"background": 0, "disc": [1, 2], "cup": 2}, as in nnU-Net) assigns values to regions;
    without it, every value but 0 is the region. Entries without a label are left out. Keys are the names of the images
    without ending, or their paths if names repeat. What an export of this package recorded (keys, classes, patients,
    parts) is restored; other images have the class "lesion". Images with empty labels are normal images.

    Source: monai.data.load_decathlon_datalist and monai.auto3dseg.datafold_read.
    """
    problems, file = reading.problems, _index_file(reading)
    index = read_index(file)
    known = recorded_cases(index, file)
    left_out: list[str] = []
    entries = list(_entries(index, file, problems, left_out))
    names = _names([str(entry["image"]) for entry, _ in entries], file, problems)
    several = max((len(entry["label"]) for entry, _ in entries), default=1)
    scheme = _scheme(index, several, file)
    by_name: dict[str, Sample] = {}
    for (entry, part), name in zip(entries, names, strict=True):
        case = known.get(name) or Case(name, "lesion", part=part)
        sample = _sample(entry, reading.folder, case, scheme, several, problems)
        if sample is not None:
            by_name[name] = sample
    problems += [f"{file}: its case '{case}' is in no list." for case in known if case not in names]
    order = [case for case in known if case in by_name] + [case for case in by_name if case not in known]
    allowed = scheme.values if "labels" in index and several == 1 else frozenset(range(256))
    problems += repeated_keys(by_name.values(), file)
    samples = checked_samples([by_name[case] for case in order], allowed, reading)
    return Manifest("monai", tuple(samples), scheme.names, tuple(left_out), len(order) - len(samples))


def _index_file(reading: Reading) -> Traversable:
    """The JSON file that the user gave, or the only one in the folder."""
    if reading.root.suffix.lower() == ".json" and reading.root.is_file():
        return reading.root
    first, *others = _datalists(reading.folder)
    if others:
        names = ", ".join(file.name for file in (first, *others))
        raise DataError(f"{reading.root} contains several datalists ({names}). Pass one of these files.")
    return first


def _datalists(folder: Traversable) -> list[Traversable]:
    """The JSON files of `folder` that are datalists, not indices of nnU-Net, which have a file ending."""
    datalists = []
    for file in listing(folder):
        name = file.name.lower()
        if name.startswith(("datalist", "dataset")) and name.endswith(".json") and file.is_file():
            try:
                index = read_index(file)
            except DataError:
                continue
            if isinstance(index.get("training"), list) and "file_ending" not in index:
                datalists.append(file)
    return datalists


def _entries(
    index: Mapping[str, Any], file: Traversable, problems: list[str], left_out: list[str]
) -> Iterator[tuple[dict[str, Any], Part]]:
    """The labelled entries with their part; "label" is always a list."""
    if not isinstance(index.get("training"), list):
        raise DataError(f"{file}: has no list 'training'. {DATASET.remedy} For the format of nnU-Net pass the folder.")
    for name, part in LISTS:
        for number, entry in enumerate(index.get(name) or []):
            where = f"{file}: {name}[{number}]"
            entry = {"image": entry} if isinstance(entry, str) else entry  # the Decathlon's "test" is a list of paths
            if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
                problems.append(f"{where}: 'image' must be one path; several channels belong in one RGB file.")
                continue
            label, fold = entry.get("label"), entry.get("fold")
            label = [label] if isinstance(label, str) else label
            if not label:
                left_out.append(f"{where} ({entry['image']}): has no label.")
            elif not isinstance(label, list) or not all(isinstance(path, str) for path in label):
                problems.append(f"{where}: 'label' must be the path of a label map, or a list of paths, not {label!r}.")
            elif faults := [fault for path in (entry["image"], *label) if (fault := listed_path_fault(path, "JSON"))]:
                problems += [f"{where}: {fault}" for fault in faults]
            elif fold is not None and (type(fold) is not int or fold < 0):
                problems.append(f"{where}: 'fold' must be a whole number from 0, not {fold!r}.")
            else:
                yield {"image": entry["image"], "label": label, "fold": fold}, part


def _names(images: list[str], file: Traversable, problems: list[str]) -> list[str]:
    """A name for each image: that of its file, or its path if two files have the same name."""
    paths = [PurePosixPath(image).with_suffix("") for image in images]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = ["__".join(path.parts) for path in paths]
        problems += [f"{file}: '{name}' is listed {n} times." for name, n in Counter(names).items() if n > 1]
    return names


def _scheme(index: Mapping[str, Any], several: int, file: Traversable) -> LabelScheme:
    """The regions of "labels"; without it one region per mask of the longest list, of all values but 0."""
    declared = read_scheme(index["labels"], file) if "labels" in index else None
    if declared is not None and several == 1:
        return declared
    names = ("lesion",) if several == 1 else tuple(f"region-{number}" for number in range(1, several + 1))
    if declared is not None:
        if len(declared.names) != several:
            raise DataError(
                f"{file}: 'labels' names {len(declared.names)} regions, but there are lists of {several} masks. Name "
                "one region per mask, outer before inner."
            )
        names = declared.names
    return LabelScheme(names, (NOT_BACKGROUND,) * several)


def _sample(
    entry: Mapping[str, Any],
    folder: Traversable,
    case: Case,
    scheme: LabelScheme,
    several: int,
    problems: list[str],
) -> Sample | None:
    """The sample of one entry; None, and a line in `problems`, if its files are missing."""
    if len(entry["label"]) != several:
        problems.append(f"{entry['image']}: has {len(entry['label'])} masks, others {several}. List one per region.")
        return None
    files = [folder.joinpath(*PurePosixPath(path).parts) for path in (entry["image"], *entry["label"])]
    missing = [f"{file}: is listed, but missing." for file in files if not _is_file(file)]
    if missing:
        problems += missing
        return None
    image, *labels = files
    if several == 1:
        masks = scheme.masks(labels[0])
    else:
        masks = tuple(Mask(file, region, NOT_BACKGROUND) for region, file in enumerate(labels))
    return Sample(case.key, case.label, image, masks, case.patient, case.part, entry["fold"])


def _is_file(file: Traversable) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name too long for the file system
        return False


DATASET = Dataset(
    name="monai",
    title="MONAI datalist",
    list_samples=_list_samples,
    recognises=lambda folder: bool(_datalists(folder)),
    layout="one datalist*.json or dataset*.json in it (or that JSON file)",
    licence="that of the converted data set",
    source="your own folder with a datalist.json, e.g. from `taichinet data export`",
    citation="Cardoso et al.: MONAI: an open-source framework for deep learning in healthcare. arXiv:2211.02701, 2022",
    has_normal=True,
    index_endings=(".json",),
)
