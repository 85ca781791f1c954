"""The regions of a user's own folder with masks/0, masks/1, ..., declared by the file regions.txt."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable

from taichinet.errors import DataError
from taichinet.storage.documents import shortened

REGIONS_FILE = "regions.txt"
LESION = "lesion"

_FORMS = (
    f"Write one line into {REGIONS_FILE} beside the folders of images and masks: 'nested: OUTER, INNER' (a name for "
    "each folder of masks, in order, if each region contains the next), 'separate: ONE, OTHER' (regions that may be "
    "apart or overlap), or 'united' (all masks are of one region)."
)
_LARGEST = 2**12


@dataclass(frozen=True)
class Regions:
    """The regions of the folders of masks.

    Attributes:
        names: Names of the regions, outer before inner if they are nested.
        united: Whether the masks of all folders are of one region. Otherwise, those of folder k are of region k.
        nested: Whether each region contains the next.
    """

    names: tuple[str, ...] = (LESION,)
    united: bool = True
    nested: bool = True

    def region_of(self, folder: int) -> int:
        """The region that the masks of a folder show."""
        return 0 if self.united else folder


def read_regions(top: Traversable, count: int) -> Regions:
    """The regions of `count` folders of masks.

    Args:
        top: The folder of the data set.
        count: Number of folders of masks: 1 unless they are called 0, 1, ...

    Returns:
        The regions; a single folder needs no declaration.

    Raises:
        DataError: There are several folders and no valid declaration.
    """
    if count == 1:
        return Regions()
    file = top / REGIONS_FILE
    if not file.is_file():
        raise DataError(f"{top} has {count} folders of masks (0 to {count - 1}), and no {REGIONS_FILE}. {_FORMS}")
    text = _text(file)
    kind, _, rest = text.partition(":")
    names = tuple(name.strip() for name in rest.split(",") if name.strip())
    kind = kind.strip().lower()
    if kind == "united" and not names:
        return Regions()
    if kind not in ("nested", "separate") or len(set(names)) != count or len(names) != count:
        raise DataError(f"{file}: '{shortened(text)}' does not declare {count} regions. {_FORMS}")
    return Regions(names, united=False, nested=kind == "nested")


def _text(file: Traversable) -> str:
    """The stripped content of a small text file."""
    try:
        with file.open("rb") as stream:
            return stream.read(_LARGEST).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({fault}). {_FORMS}") from fault
