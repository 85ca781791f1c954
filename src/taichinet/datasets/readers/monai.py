"""MONAI's datalist: a JSON file that pairs images with label maps, and may deal them over folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.interchange.cases import Case, read_index, recorded_cases, repeated_keys
from taichinet.datasets.interchange.label_map import NOT_BACKGROUND, LabelScheme, checked_samples, read_scheme
from taichinet.datasets.manifest import Manifest, Mask, Part, Sample
from taichinet.datasets.readers.layout import IMAGE_SUFFIXES, find_folder, listing, open_top, verified
from taichinet.errors import DataError

NAME = "monai"
LABEL = "lesion"
LISTS: tuple[tuple[str, Part], ...] = (
    ("training", "train"),
    ("validation", "validation"),
    ("test", "test"),
    ("testing", "test"),  # as Auto3DSeg calls it
)

_REMEDY = (
    "Pass the folder with one datalist*.json or dataset*.json in it, or its zip, or that JSON file (see docs/data.md)."
)


def recognises(folder: Traversable) -> bool:
    """Whether a datalist*.json or dataset*.json with a list "training" is in `folder`."""
    return bool(_datalists(folder))


def read_monai(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All labelled images of a MONAI datalist; `root` is its folder, a zip, or the JSON file.

    Each entry of "training", "validation" and "test" is {"image": path, "label": path, "fold": number}, paths relative
    to the JSON's folder and below it. A label is one label map, or a list of masks, one a region, outer before inner.
    With "labels" ({"background": 0, "disc": [1, 2], "cup": 2}, as nnU-Net's) values paint regions; without, whatever
    is not 0 is the region. Entries without a label are left out. Keys are the images' names without ending, or their
    paths where names repeat. What an export of ours recorded (keys, classes, patients, parts) is restored; other
    images have the class "lesion". `include_normal=False` leaves out images whose label is empty.

    Source: monai.data.load_decathlon_datalist and monai.auto3dseg.datafold_read.
    """
    folder, file = _locate(root)
    index = read_index(file)
    known = recorded_cases(index, file)
    problems: list[str] = []
    left_out: list[str] = []
    entries = list(_entries(index, file, problems, left_out))
    names = _names([str(entry["image"]) for entry, _ in entries], file, problems)
    several = max((len(entry["label"]) for entry, _ in entries), default=1)
    scheme = _scheme(index, several, file)
    found: dict[str, Sample] = {}
    for (entry, part), name in zip(entries, names, strict=True):
        sample = _sample(entry, folder, known.get(name) or Case(name, LABEL, part=part), scheme, several, problems)
        if sample is not None:
            found[name] = sample
    problems += [f"{file}: its case '{case}' is in no list." for case in known if case not in names]
    order = [case for case in known if case in found] + [case for case in found if case not in known]
    allowed = scheme.values if "labels" in index and several == 1 else frozenset(range(256))
    problems += repeated_keys(found.values(), file)
    samples = checked_samples([found[case] for case in order], allowed, include_normal, verify, problems)
    whole = verified("MONAI datalist", root, samples, problems, _REMEDY, verify)
    return Manifest(NAME, whole, scheme.names, tuple(left_out), len(order) - len(samples))


def _locate(root: Path) -> tuple[Traversable, Traversable]:
    """The folder of the datalist, and the JSON file that `root` is or holds; DataError where that is not one."""
    if root.suffix.lower() == ".json" and root.is_file():
        return root.parent, root
    folder = find_folder(open_top(root, _REMEDY), (), recognises)
    if folder is None:
        raise DataError(f"{root} holds no MONAI datalist: no JSON with a list 'training' is in it. {_REMEDY}")
    found = _datalists(folder)
    if len(found) > 1:
        raise DataError(
            f"{root} holds several datalists ({', '.join(file.name for file in found)}). Pass the file that you mean."
        )
    return folder, found[0]


def _datalists(folder: Traversable) -> list[Traversable]:
    """The JSON files of `folder` that are datalists; one of nnU-Net's (it holds a file ending) is none."""
    found = []
    for file in listing(folder):
        name = file.name.lower()
        if name.startswith(("datalist", "dataset")) and name.endswith(".json") and file.is_file():
            try:
                index = read_index(file)
            except DataError:
                continue
            if isinstance(index.get("training"), list) and "file_ending" not in index:
                found.append(file)
    return found


def _entries(
    index: Mapping[str, Any], file: Traversable, problems: list[str], left_out: list[str]
) -> Iterator[tuple[dict[str, Any], Part]]:
    """The labelled entries with their part; "label" is a list in each, for one file as for several."""
    if not isinstance(index.get("training"), list):
        raise DataError(f"{file}: has no list 'training'. {_REMEDY} Of nnU-Net's format pass the folder.")
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
            elif faults := [fault for path in (entry["image"], *label) if (fault := _path_fault(path))]:
                problems += [f"{where}: {fault}" for fault in faults]
            elif fold is not None and (type(fold) is not int or fold < 0):
                problems.append(f"{where}: 'fold' must be a whole number from 0, not {fold!r}.")
            else:
                yield {"image": entry["image"], "label": label, "fold": fold}, part


def _path_fault(text: str) -> str | None:
    """Why a listed path cannot be read, or None: a data set reads nothing outside its folder."""
    path = PurePosixPath(text)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in text or ":" in text:
        return (
            f"{text!r} must be relative to the JSON's folder and below it, with forward slashes. Move the JSON there."
        )
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return f"{text!r} is no flat image ({', '.join(IMAGE_SUFFIXES)}). Save volumes slice by slice as PNG."
    return None


def _names(images: list[str], file: Traversable, problems: list[str]) -> list[str]:
    """A name for each image: that of its file, or its path where two files share a name."""
    paths = [PurePosixPath(image).with_suffix("") for image in images]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = ["__".join(path.parts) for path in paths]
        problems += [f"{file}: '{name}' is listed {n} times." for name, n in Counter(names).items() if n > 1]
    return names


def _scheme(index: Mapping[str, Any], several: int, file: Traversable) -> LabelScheme:
    """The regions: those of "labels"; else one a mask of the longest list, each painted by what is not 0."""
    declared = read_scheme(index["labels"], file) if "labels" in index else None
    if declared is not None and several == 1:
        return declared
    names = ("lesion",) if several == 1 else tuple(f"region-{number}" for number in range(1, several + 1))
    if declared is not None:
        if len(declared.names) != several:
            raise DataError(
                f"{file}: 'labels' names {len(declared.names)} regions, but lists of {several} masks are there. Name "
                "one region a mask, outer before inner."
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
    """The sample of one entry; None, and a line in `problems`, where its files are not there."""
    if len(entry["label"]) != several:
        problems.append(f"{entry['image']}: has {len(entry['label'])} masks, others {several}. List one a region.")
        return None
    files = [folder.joinpath(*PurePosixPath(path).parts) for path in (entry["image"], *entry["label"])]
    missing = [f"{file}: is listed, but not there." for file in files if not _is_file(file)]
    if missing:
        problems += missing
        return None
    image, *labels = files
    if several == 1:
        masks = scheme.masks(labels[0])
    else:
        masks = tuple(Mask(file, region, NOT_BACKGROUND) for region, file in enumerate(labels))
    return Sample(case.key, case.label, image, masks, case.patient, case.part, entry["fold"])


DATASET = Dataset(
    name=NAME,
    title="MONAI datalist",
    read=read_monai,
    recognises=recognises,
    licence="that of the data set in it",
    source="your own folder with a datalist.json, e.g. from `taichinet data export`",
    citation="Cardoso et al.: MONAI: an open-source framework for deep learning in healthcare. arXiv:2211.02701, 2022",
    has_normal=True,
    index_endings=(".json",),
)


def _is_file(file: Traversable) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name too long for the file system
        return False
