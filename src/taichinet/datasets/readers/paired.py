"""Data sets with one mask per image: UDIAT and STU-Hospital (breast), DDTI and TN-SCUI2020 (thyroid)."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import SCREEN, Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import holds_folders, image_files, listing, paired_samples
from taichinet.datasets.readers.tables import ClassTable, with_classes
from taichinet.datasets.sample import Mask, Sample

_STU_FILE = re.compile(r"(?:(?P<image>test_image)|mask)_(?P<number>[1-9][0-9]*)", re.IGNORECASE)
_UDIAT_CLASSES = {"benign": "benign", "malignant": "malignant"}


def _has_image_and_mask(folder: Traversable) -> bool:
    """Whether `folder` contains image/ and mask/. DDTI and TN-SCUI2020 do, so the name of the folder decides."""
    return holds_folders(folder, "image", "mask")


def _list_udiat(reading: Reading) -> Manifest:
    """UDIAT: original/000001.png, GT/000001.png, keys "000001".

    The classes are in DatasetB.xlsx (columns Image and Type) as distributed, or in a labels.csv (image,label) of copies
    without it; without both, the class is "lesion". According to the authors, each image shows another patient.
    """
    folder, problems = reading.folder, reading.problems
    samples = paired_samples(folder / "original", folder / "GT", "lesion", problems)
    for table in (
        ClassTable(folder / "DatasetB.xlsx", "Image", "Type", _UDIAT_CLASSES),
        ClassTable(folder / "labels.csv", "image", "label", _UDIAT_CLASSES),
    ):
        if table.file.is_file():
            samples = with_classes(samples, table, problems)
            break
    return Manifest("udiat", tuple(samples))


def _list_ddti(reading: Reading) -> Manifest:
    """DDTI, processed release: image/N.PNG, mask/N.PNG, keys "N".

    The release renumbered the images, so that patients are unknown, and some images are identical.
    """
    folder = reading.folder
    return Manifest("ddti", tuple(paired_samples(folder / "image", folder / "mask", "nodule", reading.problems)))


def _list_tn_scui2020(reading: Reading) -> Manifest:
    """TN-SCUI2020, training part: image/N.PNG, mask/N.PNG, keys "N". The test part has no masks.

    The classes are in train.csv (columns ID and CATE: 0 benign, 1 malignant); without it, the class is "nodule".
    """
    folder, problems = reading.folder, reading.problems
    samples = paired_samples(folder / "image", folder / "mask", "nodule", problems)
    table = ClassTable(folder / "train.csv", "ID", "CATE", {"0": "benign", "1": "malignant"})
    if table.file.is_file():
        samples = with_classes(samples, table, problems)
    return Manifest("tn-scui2020", tuple(samples))


def _has_stu_pair(folder: Traversable) -> bool:
    """Whether `folder` contains an image and the mask of its number."""
    names = {entry.name.lower() for entry in listing(folder)}
    return any(name.replace("test_image_", "mask_") in names for name in names if name.startswith("test_image_"))


def _list_stu_hospital(reading: Reading) -> Manifest:
    """STU-Hospital: Test_Image_N.png and mask_N.png in one folder, keys "Test_Image_N"; no classes, no patients."""
    problems = reading.problems
    images: dict[int, Traversable] = {}
    masks: dict[int, Traversable] = {}
    for stem, file in image_files(reading.folder, problems).items():
        match = _STU_FILE.fullmatch(stem)
        of_kind = masks if match is None or match["image"] is None else images
        if match is None or int(match["number"]) in of_kind:
            problems.append(
                f"{file}: does not belong to STU-Hospital, which has only Test_Image_N.png and mask_N.png. Move it "
                "elsewhere."
            )
        else:
            of_kind[int(match["number"])] = file
    problems += [f"{images[n]}: has no mask 'mask_{n}.png'." for n in images if n not in masks]
    problems += [f"{masks[n]}: has no image 'Test_Image_{n}.png'." for n in masks if n not in images]
    return Manifest(
        "stu-hospital",
        tuple(Sample(f"Test_Image_{n}", "lesion", images[n], (Mask(masks[n]),)) for n in sorted(images) if n in masks),
    )


UDIAT = Dataset(
    name="udiat",
    title="UDIAT (Dataset B)",
    list_samples=_list_udiat,
    recognises=lambda folder: holds_folders(folder, "original", "GT"),
    layout="original and GT in it",
    licence="for research, on a release agreement signed with its authors",
    source="https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php",
    citation=(
        "Yap, Pons, Martí, Ganau, Sentís, Zwiggelaar, Davison, Martí: Automated breast ultrasound lesions detection "
        "using convolutional neural networks. IEEE Journal of Biomedical and Health Informatics 22(4), 1218-1226, "
        "2018, https://doi.org/10.1109/JBHI.2017.2731873"
    ),
    folders=("BUS", "DatasetB", "Dataset_B", "Dataset B", "UDIAT"),
    images=163,
)
STU_HOSPITAL = Dataset(
    name="stu-hospital",
    title="STU-Hospital",
    list_samples=_list_stu_hospital,
    recognises=_has_stu_pair,
    layout="Test_Image_1.png and mask_1.png in it",
    licence="not stated",
    source="https://github.com/xbhlk/STU-Hospital",
    citation=(
        "Zhuang, Li, Joseph Raj, Mahesh, Qiu: An RDAU-NET model for lesion segmentation in breast ultrasound images. "
        "PLOS ONE 14(8), e0221535, 2019, https://doi.org/10.1371/journal.pone.0221535"
    ),
    # The repository of its authors, and the zip of it, contain the folder Hospital beside others.
    folders=("Hospital", "STU-Hospital/Hospital", "STU-Hospital-master/Hospital"),
    images=42,
)
DDTI = Dataset(
    name="ddti",
    title="DDTI",
    list_samples=_list_ddti,
    recognises=_has_image_and_mask,
    layout="image and mask in it",
    licence="open access, terms not formally stated",
    source="http://cimalab.unal.edu.co/?lang=en&mod=program&id=5",
    citation=(
        "Pedraza, Vargas, Narváez, Durán, Muñoz, Romero: An open access thyroid ultrasound image database. "
        "SIPAIM 2015, https://doi.org/10.1117/12.2073532"
    ),
    folders=("DDTI",),
    thresholds=SCREEN,
)
TN_SCUI2020 = Dataset(
    name="tn-scui2020",
    title="TN-SCUI2020 (training part)",
    list_samples=_list_tn_scui2020,
    recognises=_has_image_and_mask,
    layout="image and mask in it",
    licence="not stated; given to those who registered for the challenge",
    source="https://tn-scui2020.grand-challenge.org",
    citation=(
        "Zhou, Jia, Ni, Noble, Huang, Tan, Van: Thyroid nodule segmentation and classification in ultrasound images. "
        "Zenodo, 2020, https://doi.org/10.5281/zenodo.3715942"
    ),
    folders=("TNSCUI2020_train", "tnscui2020_train", "TN-SCUI2020", "TNSCUI2020", "TNSCUI"),
    images=3644,
)
