"""Data sets with one mask per image: UDIAT and STU-Hospital (breast), DDTI and TN-SCUI2020 (thyroid)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable

from taichinet.datasets.dataset import SCREEN, Dataset, Reading
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import holds_folders, image_files, listing, paired_samples
from taichinet.datasets.readers.tables import ClassTable, with_classes
from taichinet.datasets.sample import Mask, Sample

_STU_FILE = re.compile(r"(?:(?P<image>test_image)|mask)_(?P<number>[1-9][0-9]*)", re.IGNORECASE)


def _paired_reader(
    name: str, images: str, masks: str, label: str, tables: Sequence[ClassTable] = ()
) -> Callable[[Reading], Manifest]:
    """A reader of two folders, whose files have the same names; these are the keys.

    The first of `tables` that exists gives the classes; without one, the class is `label`.
    """

    def list_samples(reading: Reading) -> Manifest:
        folder, problems = reading.folder, reading.problems
        samples = paired_samples(folder / images, folder / masks, label, problems)
        table = next((table for table in tables if (folder / table.name).is_file()), None)
        if table is not None:
            samples = with_classes(samples, folder, table, problems)
        return Manifest(name, tuple(samples))

    return list_samples


def _has_image_and_mask(folder: Traversable) -> bool:
    """Whether `folder` contains image/ and mask/. DDTI and TN-SCUI2020 do, so the name of the folder decides."""
    return holds_folders(folder, "image", "mask")


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


_UDIAT_CLASSES = {"benign": "benign", "malignant": "malignant"}
# original/000001.png, GT/000001.png, keys "000001". The classes are in DatasetB.xlsx as distributed, or in a labels.csv
# of copies without it. According to the authors, each image shows another patient.
UDIAT = Dataset(
    name="udiat",
    title="UDIAT (Dataset B)",
    list_samples=_paired_reader(
        name="udiat",
        images="original",
        masks="GT",
        label="lesion",
        tables=(
            ClassTable("DatasetB.xlsx", "Image", "Type", _UDIAT_CLASSES),
            ClassTable("labels.csv", "image", "label", _UDIAT_CLASSES),
        ),
    ),
    recognises=lambda folder: holds_folders(folder, "original", "GT"),
    layout="original and GT in it",
    licence="for research, on a release agreement signed with its authors",
    source="https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php",
    organ="breast",
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
    organ="breast",
    citation=(
        "Zhuang, Li, Joseph Raj, Mahesh, Qiu: An RDAU-NET model for lesion segmentation in breast ultrasound images. "
        "PLOS ONE 14(8), e0221535, 2019, https://doi.org/10.1371/journal.pone.0221535"
    ),
    # The repository of its authors, and the zip of it, contain the folder Hospital beside others.
    folders=("Hospital", "STU-Hospital/Hospital", "STU-Hospital-master/Hospital"),
    images=42,
)
# The processed release: image/N.PNG, mask/N.PNG, keys "N". It renumbered the images, so that patients are unknown, and
# some images are identical.
DDTI = Dataset(
    name="ddti",
    title="DDTI",
    list_samples=_paired_reader("ddti", "image", "mask", "nodule"),
    recognises=_has_image_and_mask,
    layout="image and mask in it",
    licence="open access, terms not formally stated",
    source="http://cimalab.unal.edu.co/?lang=en&mod=program&id=5",
    organ="thyroid",
    citation=(
        "Pedraza, Vargas, Narváez, Durán, Muñoz, Romero: An open access thyroid ultrasound image database. "
        "SIPAIM 2015, https://doi.org/10.1117/12.2073532"
    ),
    folders=("DDTI",),
    thresholds=SCREEN,
)
# The training set: image/N.PNG, mask/N.PNG, keys "N"; CATE is 0 (benign) or 1 (malignant). The test set has no masks.
_TN_SCUI2020_CLASSES = ClassTable("train.csv", "ID", "CATE", {"0": "benign", "1": "malignant"})
TN_SCUI2020 = Dataset(
    name="tn-scui2020",
    title="TN-SCUI2020 (training set)",
    list_samples=_paired_reader("tn-scui2020", "image", "mask", "nodule", (_TN_SCUI2020_CLASSES,)),
    recognises=_has_image_and_mask,
    layout="image and mask in it",
    licence="not stated; given to those who registered for the challenge",
    source="https://tn-scui2020.grand-challenge.org",
    organ="thyroid",
    citation=(
        "Zhou, Jia, Ni, Noble, Huang, Tan, Van: Thyroid nodule segmentation and classification in ultrasound images. "
        "Zenodo, 2020, https://doi.org/10.5281/zenodo.3715942"
    ),
    folders=("TNSCUI2020_train", "tnscui2020_train", "TN-SCUI2020", "TNSCUI2020", "TNSCUI"),
    images=3644,
)
