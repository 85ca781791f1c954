"""Fundus photographs with optic disc and cup as nested regions: REFUGE and Drishti-GS1, each with official parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import FUNDUS, Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import image_files, listing, pair_by_stem
from taichinet.datasets.sample import Mask, MaskRule, Part, Sample

REGIONS = ("disc", "cup")
RULES = (MaskRule(0, 191), MaskRule(0, 63))
"""Disc and cup in a mask of REFUGE: 0 is the cup, 128 the rim of the disc, 255 background; limits halfway between."""

_LABEL = "fundus"


def _unique_samples(samples: Iterable[Sample], problems: list[str]) -> tuple[Sample, ...]:
    """The first sample of each key; `problems` receives a line for each other one."""
    unique: dict[str, Sample] = {}
    for sample in samples:
        if sample.key in unique:
            problems.append(f"{sample.image}: {unique[sample.key].image} has the same name. Keep one of them.")
        unique.setdefault(sample.key, sample)
    return tuple(unique.values())


_REFUGE_CLASSES = {"glaucoma": "glaucoma", "g": "glaucoma", "non-glaucoma": "non-glaucoma", "n": "non-glaucoma"}
# The names, in lower case, of the folders of images, and of those of masks.
_REFUGE_PARTS: dict[Part, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (("training400", "refuge-training400"), ("annotation-training400",)),
    "validation": (("validation400", "refuge-validation400"), ("validation400-gt", "refuge-validation400-gt")),
    "test": (("test400", "refuge-test400"), ("test-gt", "refuge-test-gt", "test400-gt", "refuge-test400-gt")),
}
# Folders between that of a part and its images. Others are ignored: Training400/AMD has no masks of disc and cup.
_BETWEEN = {
    *("images", "disc_cup_masks"),
    *(name for images, masks in _REFUGE_PARTS.values() for name in (*images, *masks)),
}


def _is_refuge(folder: Traversable) -> bool:
    """Whether the images of at least one part are in `folder`, or in a folder in it."""
    return any(_find_refuge(folder, images) is not None for images, _ in _REFUGE_PARTS.values())


def _list_refuge(reading: Reading) -> Manifest:
    """REFUGE: training, validation, test; keys "g0001", "V0001", "T0001".

    Images are Training400/{Glaucoma,Non-Glaucoma}/*.jpg, REFUGE-Validation400/*.jpg and Test400/*.jpg, masks *.bmp in
    Disc_Cup_Masks of Annotation-Training400/, REFUGE-Validation400-GT/ and REFUGE-Test-GT/; each zip may have been
    unpacked into its own folder. One mask shows both regions (see `RULES`). The class is the name of the folder of the
    image or of its mask (G and N in the test set), otherwise "fundus". Missing parts are ignored; names do not
    identify patients.
    """
    samples = (sample for part in _REFUGE_PARTS for sample in _refuge_part(reading.folder, part, reading.problems))
    return Manifest("refuge", _unique_samples(samples, reading.problems), REGIONS)


def _find_refuge(folder: Traversable, names: tuple[str, ...]) -> Traversable | None:
    """The folder of one of `names` in `folder` or in a folder there; the outer one takes precedence."""
    level = [entry for entry in listing(folder) if entry.is_dir()]
    level += [entry for outer in level for entry in listing(outer) if entry.is_dir()]
    return next((entry for entry in level if entry.name.lower() in names), None)


def _refuge_part(folder: Traversable, part: Part, problems: list[str]) -> Iterator[Sample]:
    """The samples of one part, by class if folders give it, then by number."""
    image_names, mask_names = _REFUGE_PARTS[part]
    image_folder, mask_folder = _find_refuge(folder, image_names), _find_refuge(folder, mask_names)
    if image_folder is None or mask_folder is None:
        there, other = (image_folder, mask_names) if mask_folder is None else (mask_folder, image_names)
        if there is not None:
            problems.append(f"{there}: the folder '{other[-1]}' that belongs to it is missing.")
        return
    image_labels: dict[str, str] = {}
    mask_labels: dict[str, str] = {}
    images = _refuge_images(image_folder, None, image_labels, problems)
    masks = _refuge_images(mask_folder, None, mask_labels, problems)
    for stem, image, mask in pair_by_stem(images, masks, mask_folder, problems):
        label = image_labels.get(stem) or mask_labels.get(stem, _LABEL)
        regions = tuple(Mask(mask, region, rule) for region, rule in enumerate(RULES))
        yield Sample(stem, label, image, regions, part=part)


def _refuge_images(
    folder: Traversable, label: str | None, labels: dict[str, str], problems: list[str]
) -> dict[str, Traversable]:
    """The images in `folder` and in its folders of classes and of other known names, by name; `labels` gets classes."""
    images = image_files(folder, problems)
    labels.update(dict.fromkeys(images, label) if label is not None else {})
    for entry in listing(folder):
        name = entry.name.lower()
        if not entry.is_dir() or not (name in _REFUGE_CLASSES or name in _BETWEEN):
            continue
        for stem, image in _refuge_images(entry, _REFUGE_CLASSES.get(name, label), labels, problems).items():
            if stem in images:
                problems.append(f"{image}: {images[stem]} has the same name. Keep one of them.")
            images.setdefault(stem, image)
    return images


_DRISHTI_PARTS: dict[str, Part] = {"Training": "train", "Test": "test"}
_DRISHTI_CLASSES = {"GLAUCOMA": "glaucoma", "NORMAL": "non-glaucoma"}
_MAP_FOLDERS = ("GT", "Test_GT")
_SOFT_MAPS = ("ODsegSoftmap", "cupsegSoftmap")  # disc and cup


def _is_drishti(folder: Traversable) -> bool:
    """Whether `folder` contains the images and maps of at least one part."""
    return any((folder / name / "Images").is_dir() and _map_folder(folder / name) for name in _DRISHTI_PARTS)


def _list_drishti(reading: Reading) -> Manifest:
    """Drishti-GS1: training set, then test set; keys "drishtiGS_004".

    Each part has Images/.../drishtiGS_NNN.png and GT/drishtiGS_NNN/SoftMap/drishtiGS_NNN_ODsegSoftmap.png and
    _cupsegSoftmap.png; some copies call the GT of the test set Test_GT. A map is the share of four annotators who
    marked a pixel (0, 64, 128, 191, 255), of whom at least two are required (> 127). If Images has the subfolders
    GLAUCOMA and NORMAL they are the class, otherwise "fundus"; NORMAL refers to the eye, not to an empty mask, and
    becomes "non-glaucoma". Missing parts are ignored; names do not identify patients.
    """
    samples = (
        sample
        for name, part in _DRISHTI_PARTS.items()
        for sample in _drishti_part(reading.folder / name, part, reading.problems)
    )
    return Manifest("drishti-gs", _unique_samples(samples, reading.problems), REGIONS)


def _map_folder(folder: Traversable) -> Traversable | None:
    """The folder of soft maps of a part."""
    return next((folder / name for name in _MAP_FOLDERS if (folder / name).is_dir()), None)


def _drishti_part(folder: Traversable, part: Part, problems: list[str]) -> Iterator[Sample]:
    """The samples of one part, by class if folders give it, then by number; none if the part is missing."""
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
            files = [maps / stem / "SoftMap" / f"{stem}_{end}.png" for end in _SOFT_MAPS]
            missing = [file for file in files if not file.is_file()]
            problems += [f"{image}: has no map {file}." for file in missing]
            if not missing:
                masks = tuple(Mask(file, region) for region, file in enumerate(files))
                yield Sample(stem, _DRISHTI_CLASSES.get(place.name, _LABEL), image, masks, part=part)
    orphans = [entry for entry in listing(maps) if entry.is_dir() and entry.name not in stems]
    problems += [f"{orphan}: these maps have no image '{orphan.name}.png' in {images}." for orphan in orphans]


REFUGE = Dataset(
    name="refuge",
    title="REFUGE",
    list_samples=_list_refuge,
    recognises=_is_refuge,
    layout="Training400 and Annotation-Training400 in it (and the other parts)",
    licence="the challenge's terms, on registration",
    source="https://refuge.grand-challenge.org",
    organ="eye",
    citation=(
        "Orlando, Fu, Barbosa Breda, van Keer, Bathula, Diaz-Pinto, Fang, Heng et al.: REFUGE Challenge: A unified "
        "framework for evaluating automated methods for glaucoma assessment from fundus photographs. Medical Image "
        "Analysis 59, 101570, 2020, https://doi.org/10.1016/j.media.2019.101570"
    ),
    folders=("REFUGE", "Refuge", "refuge", "REFUGE2"),
    regions=REGIONS,
    colour=True,
    thresholds=FUNDUS,
    images=1200,
)
DRISHTI_GS = Dataset(
    name="drishti-gs",
    title="Drishti-GS1",
    list_samples=_list_drishti,
    recognises=_is_drishti,
    layout="Training and Test in it (each with Images, and GT or Test_GT)",
    licence="not stated",
    source="https://cvit.iiit.ac.in/projects/mip/drishti-gs/mip-dataset2/Home.php",
    organ="eye",
    citation=(
        "Sivaswamy, Krishnadas, Joshi, Jain, Tabish: Drishti-GS: Retinal image dataset for optic nerve head (ONH) "
        "segmentation. ISBI 2014, 53-56, https://doi.org/10.1109/ISBI.2014.6867807"
    ),
    folders=("Drishti-GS", "Drishti-GS1", "Drishti-GS1_files", "Drishti-GS1_files/Drishti-GS1_files"),
    regions=REGIONS,
    colour=True,
    thresholds=FUNDUS,
    images=101,
)
