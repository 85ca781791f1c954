"""Dataset: an entry of the catalogue, and how its files become a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.resources.abc import Traversable
from pathlib import Path

from taichinet.datasets.bundle.read import is_bundle, read_bundle
from taichinet.datasets.decoded import DECODING_THREADS, DecodedFiles
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.layout import find_folder, open_top
from taichinet.datasets.readers.tree import trees_side_by_side
from taichinet.datasets.sample import Mask
from taichinet.errors import DataError, SettingError
from taichinet.progress import tracked


@dataclass(frozen=True)
class DuplicateThresholds:
    """Correlations, 0.3 to 1, from which two images are near-duplicates: of thumbnails, and of aligned fine detail."""

    thumbnail: float = 0.98
    detail: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.3 <= value <= 1:
                raise SettingError(f"{name} = {value}, but it must be in 0.3 to 1; lower values join different scenes.")


ULTRASOUND = DuplicateThresholds()
# All fundi fill the same round frame: thumbnails of unrelated images reach 0.99, and the frame alone aligns to 0.85.
FUNDUS = DuplicateThresholds(thumbnail=1.0, detail=0.9)
# Screenshots with the scale and settings of the scanner, by which unrelated images of DDTI align to 0.63. Frames of one
# sweep reach 0.60 to 0.66 there, so that some of them are missed; other near-duplicates reach 0.89 and more.
SCREEN = DuplicateThresholds(detail=0.65)


@dataclass
class Reading:
    """One reading of a data set, as passed to its reader.

    Attributes:
        root: The folder, zip file or index file that the user gave.
        folder: The folder with the layout of the data set; it may be inside a zip file.
        include_normal: Whether images without a lesion are requested.
        verify: Whether every file is decoded.
        files: Decodes files, for readers that need pixels (e.g. to find empty masks).
        problems: One line per fault. A reader appends to it and continues, so that all faults are reported at once.
    """

    root: Path
    folder: Traversable
    include_normal: bool = True
    verify: bool = True
    files: DecodedFiles = field(default_factory=DecodedFiles)
    problems: list[str] = field(default_factory=list)

    def faults_of(self, image: Traversable | None, masks: Iterable[Mask] = ()) -> list[str]:
        """The faults found by decoding files that the manifest will not contain; none unless `verify` is true."""
        return self.files.problems_in(image, masks) if self.verify else []


@dataclass(frozen=True)
class Dataset:
    """One entry of the catalogue.

    Attributes:
        name: Name on the command line, in lower case.
        title: Name in tables and reports.
        list_samples: The reader: pairs images with masks without decoding them, appends faults to `reading.problems`,
            and returns the samples in a fixed order.
        recognises: Whether a folder has the layout of the data set; it must not open images.
        layout: What the folder of the data set contains, for messages that begin with "Pass the folder with".
        licence: Terms of use.
        source: Where users get the data set. Nothing is downloaded.
        citation: The publication to cite.
        organ: Organ that the images show: breast, thyroid or eye; empty if it is not known.
        folders: Usual names of the folder as the authors distribute it.
        regions: Names of the regions that masks show, outer before inner.
        colour: Whether images are in colour.
        has_normal: Whether there are images without a lesion.
        images: Number of images of the complete data set, if known.
        thresholds: Correlations from which two images count as near-duplicates.
        fallback: Whether the layout is so common that it is recognised only if no other data set has it.
        index_endings: Endings of files that list the data set and can be given instead of its folder, e.g. ".json".
        own: Whether it is a folder of the user's own images, which may have any name (see `called`), and whose patients
            may be found by a pattern.
        expected: The content of the folder line by line, for the message about a folder with another content.
    """

    name: str
    title: str
    list_samples: Callable[[Reading], Manifest]
    recognises: Callable[[Traversable], bool]
    layout: str
    licence: str
    source: str
    citation: str
    organ: str = ""
    folders: tuple[str, ...] = ()
    regions: tuple[str, ...] = ("lesion",)
    colour: bool = False
    has_normal: bool = False
    images: int | None = None
    thresholds: DuplicateThresholds = ULTRASOUND
    fallback: bool = False
    index_endings: tuple[str, ...] = ()
    own: bool = False
    expected: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """The sentence at the end of messages."""
        page = "own-folder" if self.own else "data"
        return f"Pass the folder with {self.layout}, or its zip (see docs/compare/{page}.md)."

    def called(self, name: str) -> Dataset:
        """The entry of the user's own folder `name`."""
        return replace(self, name=name, title=name)

    def read(
        self, root: Path, include_normal: bool = True, verify: bool = True, files: DecodedFiles | None = None
    ) -> Manifest:
        """Read the data set at `root`.

        Args:
            root: The folder as its authors distribute it, a folder that contains it, its zip file, its index file, or a
                bundle.
            include_normal: Whether to include images without a lesion.
            verify: Whether to decode every file; otherwise only names and pairs are checked.
            files: Keeps what later steps need of the decoded files; by default thumbnails, digests and masks. A bundle
                has its own.

        Returns:
            The samples in a fixed order.

        Raises:
            DataError: There is no such data set at `root`, or it has faults. All of them are named.
        """
        if is_bundle(root):
            return read_bundle(root, self.name, include_normal, verify)
        files = DecodedFiles() if files is None else files
        reading = Reading(root, self._locate(root), include_normal, verify, files)
        manifest = replace(self.list_samples(reading), name=self.name, files=files)
        problems = reading.problems
        for key in manifest.keys:
            try:
                key.encode()
            except UnicodeEncodeError:
                problems.append(f"{root}: the name {key!r} is not valid UTF-8. Rename the file.")
        if verify:
            with ThreadPoolExecutor(max_workers=DECODING_THREADS) as pool:
                checked = pool.map(lambda sample: files.problems_in(sample.image, sample.masks), manifest.samples)
                for faults in tracked(checked, f"reading {self.name}", len(manifest.samples)):
                    problems += faults
        if not manifest.samples and not problems:
            problems.append(f"{root}: contains no image.")
        if problems:
            unique = list(dict.fromkeys(problems))  # a file that shows several regions is reported once
            count = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"
            raise DataError(
                f"{root} cannot be read as data set {self.name}: {count}. Repair each file, or download the data set "
                f"again. {self.remedy}",
                unique,
            )
        return manifest

    def _locate(self, root: Path) -> Traversable:
        if root.suffix.lower() in self.index_endings and root.is_file():
            return root.parent
        top = open_top(root, self.remedy)
        folder = find_folder(top, self.folders, self.recognises)
        if folder is None:
            if not self.expected:
                raise DataError(f"{root} is not a data set of type {self.name}. {self.remedy}")
            trees = trees_side_by_side(self.expected, top)  # an own folder, whose name says nothing about its layout
            raise DataError(f"{root} is not a folder of images with masks in a known layout. {self.remedy}\n{trees}")
        return folder
