"""Dataset: what the catalogue knows of a data set, and how its reader is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Protocol

from taichinet.datasets.manifest import Manifest


@dataclass(frozen=True)
class CopyThresholds:
    """From which correlation on two pictures count as one scene: of thumbnails, and of aligned fine detail."""

    thumbnail: float = 0.98
    detail: float = 0.5


ULTRASOUND = CopyThresholds()
# Every fundus fills the same round frame: strangers' thumbnails reach 0.99, and the frame's edge alone aligns to 0.85.
FUNDUS = CopyThresholds(thumbnail=1.0, detail=0.9)
# A whole screen with the scanner's scale and settings: these alone align strangers of DDTI to 0.63. Two frames of one
# sweep reach 0.60 to 0.66 there, so that some of them are missed; copies reach 0.89 and more.
SCREEN = CopyThresholds(detail=0.65)


class Reader(Protocol):
    """Reads the data set under `root`, a folder or a zip, as its authors distribute it.

    `include_normal` keeps images without any region where the data set has such a class. `verify` decodes every file;
    without it only names and pairs are checked. All problems are in one DataError.
    """

    def __call__(self, root: Path, include_normal: bool = True, verify: bool = True) -> Manifest:
        """The samples in a fixed order."""
        ...


@dataclass(frozen=True)
class Dataset:
    """One entry of the catalogue.

    `folders` are the names under which the authors' folder is usually found; `recognises` says whether a folder (or
    the inside of a zip) looks like this data set by its layout, without opening any picture. `licence` and `source`
    say on what terms and where users get it; nothing is downloaded here. A `fallback` has a layout so common that it is
    recognised only where no other entry is. `index_endings` are those of a file that lists the data set and may be
    given in its folder's place.
    """

    name: str
    title: str
    read: Reader
    recognises: Callable[[Traversable], bool]
    licence: str
    source: str
    citation: str
    folders: tuple[str, ...] = ()
    regions: tuple[str, ...] = ("lesion",)
    colour: bool = False
    has_normal: bool = False
    images: int | None = None
    copies: CopyThresholds = ULTRASOUND
    fallback: bool = False
    index_endings: tuple[str, ...] = ()
