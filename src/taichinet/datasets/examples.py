"""The example images in the package: part of BUS-UCLM, chosen by `benchmarks/choose_examples.py`. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taichinet.storage.atomic import write_bytes
from taichinet.storage.digest import digest_file
from taichinet.storage.output_folder import record_files, refuse_foreign_files

FOLDER = Path(__file__).parents[1] / "examples"
RECORD_FILE = "examples.json"
ATTRIBUTION_FILE = "ATTRIBUTION.md"
CREDIT = (
    "Images: BUS-UCLM, Vallez et al., Scientific Data 12, 2025, doi 10.1038/s41597-025-04562-3, CC BY 4.0 "
    "(creativecommons.org/licenses/by/4.0). Changes: resized, outlines added."
)


@dataclass(frozen=True)
class Example:
    """An example image.

    Attributes:
        image: The image in the package.
        mask: Its true mask, empty for a normal image.
        lesion: Whether the true mask has a lesion.
        unseen_dice: Dice at original resolution of the cross-validated network that had not seen the image; None for a
            normal image.
        unseen_prediction: Whether that network predicted a lesion.
    """

    image: Path
    mask: Path
    lesion: bool
    unseen_dice: float | None
    unseen_prediction: bool


@dataclass(frozen=True)
class Population:
    """The images among which the examples were chosen, with the results of networks that had not seen them.

    Attributes:
        lesion_images: Number of images with a lesion.
        mean_dice: Their mean Dice at original resolution.
        missed: Number of those with a Dice of 0.
        normal_images: Number of images without a lesion.
        normal_with_prediction: Number of those with a predicted lesion.
    """

    lesion_images: int
    mean_dice: float
    missed: int
    normal_images: int
    normal_with_prediction: int


def list_examples() -> list[Example]:
    """The examples: lesion images in ascending order of the unseen Dice, then normal images."""
    rows = _record()["images"]
    return [
        Example(
            FOLDER / "images" / row["file"],
            FOLDER / "masks" / row["file"],
            row["lesion"],
            row["unseen_dice"],
            row["unseen_prediction"],
        )
        for row in rows
    ]


def population() -> Population:
    """The images among which the examples were chosen."""
    return Population(**_record()["of"])


def write_examples(folder: Path, overwrite: bool = False) -> list[str]:
    """Copy the examples to a folder, in the layout of an own data set.

    Args:
        folder: The output folder. Files of an earlier call are replaced.
        overwrite: Whether to also replace files that this function did not write.

    Returns:
        The names of the files, relative to `folder`.

    Raises:
        StorageError: A file of the user would be replaced, or a file cannot be written.
    """
    names = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
    # Equal files are not recorded if an earlier call was interrupted.
    changed = [name for name in names if not _is_same(folder / name, FOLDER / name)]
    refuse_foreign_files(folder, changed, overwrite)
    for name in changed:
        write_bytes(folder / name, (FOLDER / name).read_bytes())
    record_files(folder, names)
    return names


def _is_same(file: Path, original: Path) -> bool:
    return file.is_file() and digest_file(file) == digest_file(original)


def _record() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / RECORD_FILE).read_text(encoding="utf-8"))
    return content
