"""Drishti-GS1, optic disc and cup in fundus photographs, with its authors' training and test parts."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.dataset import FUNDUS, Dataset
from taichinet.datasets.manifest import Manifest, Mask, Part, Sample
from taichinet.datasets.readers.layout import find_folder, image_files, listing, open_top, verified
from taichinet.errors import DataError

NAME = "drishti-gs"
LABEL = "fundus"
REGIONS = ("disc", "cup")
FOLDERS = ("Drishti-GS", "Drishti-GS1", "Drishti-GS1_files", "Drishti-GS1_files/Drishti-GS1_files")
PARTS: dict[str, Part] = {"Training": "train", "Test": "test"}
SOFT_MAPS = ("ODsegSoftmap", "cupsegSoftmap")
"""The names' ends of the maps of disc and cup."""

_REMEDY = "Pass the folder with Training and Test in it (each with Images, and GT or Test_GT), or its zip."
_MAP_FOLDERS = ("GT", "Test_GT")
_CLASSES = {"GLAUCOMA": "glaucoma", "NORMAL": "non-glaucoma"}


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds the images and maps of at least one part."""
    return any((folder / name / "Images").is_dir() and _map_folder(folder / name) is not None for name in PARTS)


def read_drishti_gs(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of Drishti-GS1 under `root`, training part first, keys "drishtiGS_004"; disc and cup are regions.

    In each part lie Images/.../drishtiGS_NNN.png and GT/drishtiGS_NNN/SoftMap/drishtiGS_NNN_ODsegSoftmap.png and
    _cupsegSoftmap.png; some copies call the GT of the test part Test_GT. A map says how many of four graders painted
    a pixel (0, 64, 128, 191, 255), and at least two must have (> 127). Where Images has the subfolders GLAUCOMA and
    NORMAL they are the class, which else is "fundus"; "normal" is the eye, not the mask, so it reads "non-glaucoma".
    A part that is not there is passed over, and `include_normal` changes nothing. Names do not identify patients.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no Drishti-GS: no Training/Images with Training/GT is in it. {_REMEDY}")
    problems: list[str] = []
    samples: dict[str, Sample] = {}
    for name, part in PARTS.items():
        for sample in _samples(folder / name, part, problems):
            if sample.key in samples:
                problems.append(f"{sample.image}: {samples[sample.key].image} has the same name. Keep one of them.")
            samples.setdefault(sample.key, sample)
    found = verified("Drishti-GS", root, tuple(samples.values()), problems, _REMEDY, verify)
    return Manifest(NAME, found, REGIONS)


def _map_folder(folder: Traversable) -> Traversable | None:
    """The folder of soft maps in that of a part."""
    return next((folder / name for name in _MAP_FOLDERS if (folder / name).is_dir()), None)


def _samples(folder: Traversable, part: Part, problems: list[str]) -> Iterator[Sample]:
    """The samples of one part, by class where folders give it, then by number; nothing where the part is not there."""
    images = folder / "Images"
    maps = _map_folder(folder)
    if maps is None:
        if images.is_dir():
            problems.append(f"{images}: has no folder of maps beside it ({' or '.join(_MAP_FOLDERS)}).")
        return
    stems: set[str] = set()
    for place in (images, *(entry for entry in listing(images) if entry.is_dir())):
        for stem, image in image_files(place, problems).items():
            stems.add(stem)
            files = [maps / stem / "SoftMap" / f"{stem}_{end}.png" for end in SOFT_MAPS]
            missing = [file for file in files if not file.is_file()]
            problems += [f"{image}: has no map {file}." for file in missing]
            if not missing:
                masks = tuple(Mask(file, region) for region, file in enumerate(files))
                yield Sample(stem, _CLASSES.get(place.name, LABEL), image, masks, part=part)
    orphans = [entry for entry in listing(maps) if entry.is_dir() and entry.name not in stems]
    problems += [f"{orphan}: these maps have no image '{orphan.name}.png' in {images}." for orphan in orphans]


DATASET = Dataset(
    name=NAME,
    title="Drishti-GS1",
    read=read_drishti_gs,
    recognises=recognises,
    licence="not stated",
    source="https://cvit.iiit.ac.in/projects/mip/drishti-gs/mip-dataset2/Home.php",
    citation=(
        "Sivaswamy, Krishnadas, Joshi, Jain, Tabish: Drishti-GS: Retinal image dataset for optic nerve head (ONH) "
        "segmentation. ISBI 2014, 53-56, https://doi.org/10.1109/ISBI.2014.6867807"
    ),
    folders=FOLDERS,
    regions=REGIONS,
    colour=True,
    copies=FUNDUS,
    images=101,
)
