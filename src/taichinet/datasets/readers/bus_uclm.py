"""BUS-UCLM, breast ultrasound of 38 women, whose masks give the class by their colours."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.dataset import Dataset
from taichinet.datasets.image_io import image_size, read_rgb
from taichinet.datasets.manifest import BRIGHT, NORMAL_CLASS, Manifest, Mask, Sample
from taichinet.datasets.readers.layout import find_folder, image_files, open_top, pair_by_stem, verified
from taichinet.errors import DataError

NAME = "bus-uclm"
FOLDERS = ("BUS-UCLM", "BUS-UCLM Breast ultrasound lesion segmentation dataset/BUS-UCLM")

_REMEDY = "Pass the folder BUS-UCLM (with images, masks and INFO.csv in it) or its zip."
_RED, _GREEN = 0, 1  # channels


@dataclass(frozen=True)
class _Look:
    """A sample as the colours of its mask make it; `left_out` or `problem` says why it is not to be used."""

    sample: Sample
    left_out: str | None = None
    problem: str | None = None


def recognises(folder: Traversable) -> bool:
    """Whether `folder` holds images/, masks/ and INFO.csv."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir() and (folder / "INFO.csv").is_file()


def read_bus_uclm(root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
    """All samples of BUS-UCLM under `root`: images/ABCD_000.png and masks/ABCD_000.png, keys "ABCD_000".

    The class is what the mask is painted in: green benign, red malignant (an image with both is malignant), nothing
    normal. So masks are decoded whatever `verify` says; INFO.csv, which holds the same and more, is passed over. The
    letters of the name are the patient. An image whose mask has another size is left out, with a line in
    `Manifest.left_out`, for there is no telling where the mask belongs; any other fault is a problem.
    `include_normal=False` leaves out images without a lesion.
    """
    folder = find_folder(open_top(root, _REMEDY), FOLDERS, recognises)
    if folder is None:
        raise DataError(f"{root} holds no BUS-UCLM: no folders images and masks with INFO.csv are in it. {_REMEDY}")
    problems: list[str] = []
    images = image_files(folder / "images", problems)
    masks = image_files(folder / "masks", problems)
    looks = _look_at_all(pair_by_stem(images, masks, folder / "masks", problems))
    problems += [look.problem for look in looks if look.problem]
    # Those left out are decoded too: another size is forgiven, damage is not.
    verified("BUS-UCLM", root, [look.sample for look in looks], problems, _REMEDY, verify)
    whole = Manifest(
        NAME,
        tuple(look.sample for look in looks if not look.left_out),
        left_out=tuple(look.left_out for look in looks if look.left_out),
    )
    return whole if include_normal else whole.without_normal()


def _look_at_all(pairs: Iterable[tuple[str, Traversable, Traversable]]) -> list[_Look]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda pair: _look(*pair), pairs))


def _look(stem: str, image: Traversable, mask: Traversable) -> _Look:
    """One image's class and size, from its mask."""
    patient = stem.rpartition("_")[0] or None
    image_alone = Sample(stem, NORMAL_CLASS, image, (), patient)
    try:
        colours, size = read_rgb(mask), image_size(image)
        label = _label(mask, colours)
    except DataError as fault:
        return _Look(image_alone, problem=str(fault))
    if colours.shape[:2] == size:
        return _Look(Sample(stem, label, image, (Mask(mask),), patient))
    return _Look(
        image_alone,
        left_out=(
            f"masks/{mask.name}: the mask is {colours.shape[0]} x {colours.shape[1]} pixels, "
            f"its image {size[0]} x {size[1]} (height x width)."
        ),
    )


def _label(mask: Traversable, colours: NDArray[np.uint8]) -> str:
    """The class of a mask (H, W, 3) by the pixels that count as painted; DataError where one is neither red nor green.

    Red is where red exceeds green, green the other way round, so that a blend at an edge still counts as one.
    """
    painted = colours[colours.max(axis=2) >= BRIGHT.low]
    red, green = painted[:, _RED], painted[:, _GREEN]
    neither = painted[red == green]
    if len(neither):
        raise DataError(
            f"{mask}: a pixel has the colour {tuple(neither[0].tolist())}, neither red (malignant) nor green (benign); "
            "copy it again from the original."
        )
    if (red > green).any():
        return "malignant"
    return "benign" if len(painted) else NORMAL_CLASS


DATASET = Dataset(
    name=NAME,
    title="BUS-UCLM",
    read=read_bus_uclm,
    recognises=recognises,
    licence="CC BY-NC 4.0 in its authors' repository; others quote CC BY 4.0 for the copy at its DOI",
    source="https://doi.org/10.17632/7fvgj4jsp7",
    citation=(
        "Vallez, Bueno, Deniz, Rienda, Pastor: BUS-UCLM: Breast ultrasound lesion segmentation dataset. "
        "Scientific Data 12, 242, 2025, https://doi.org/10.1038/s41597-025-04562-3"
    ),
    folders=FOLDERS,
    has_normal=True,
    images=683,
)
