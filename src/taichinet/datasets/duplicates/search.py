"""find_near_duplicates: which pictures show the same scene, so that cross-validation never splits them.

BUSI holds the same picture again and again: at another size, cropped otherwise, with and without calipers,
even with contradictory labels. A fold that trains on one copy and tests on another scores memory, not skill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from taichinet.datasets.duplicates.crops import Alignment, align_crops
from taichinet.datasets.duplicates.fingerprint import Fingerprint, GreyImage, take_fingerprint
from taichinet.datasets.duplicates.thumbnails import similar_thumbnails
from taichinet.errors import DataError, SettingError
from taichinet.groups import join_groups

Kind = Literal["identical", "altered", "rescaled", "cropped"]

SUSPICION = 0.05  # thumbnails this far below `correlation` are suspected, and handed to the alignment
EXACT_UP_TO = 1000  # pictures; beyond, what is tried grows with their number instead of its square
MOST_NEIGHBOURS = 12  # pictures that one is compared with, beyond `EXACT_UP_TO`; 24 find no further copy in BUSI


@dataclass(frozen=True)
class DuplicatePair:
    """Two keys (`first` < `second`) that show one scene.

    `kind`: "identical" pixels; "altered": same size and frame, other pixels (marks, brightness, compression);
    "rescaled": same frame, other size; "cropped": other frame, whatever the sizes.
    `score`: 1 for identical; else the correlation of fine detail after alignment, or that of the thumbnails
    for a pair which only the thumbnails found.
    """

    first: str
    second: str
    kind: Kind
    score: float


@dataclass(frozen=True)
class DuplicateReport:
    """Every pair found, sorted by keys, and the groups they join, sorted inside and among themselves."""

    pairs: tuple[DuplicatePair, ...]
    groups: tuple[tuple[str, ...], ...]

    @property
    def covered(self) -> int:
        """How many pictures belong to a group."""
        return sum(len(group) for group in self.groups)

    @property
    def largest(self) -> int:
        """Size of the largest group; 0 where there is none."""
        return max((len(group) for group in self.groups), default=0)


def find_near_duplicates(
    images: Mapping[str, GreyImage],
    correlation: float = 0.98,
    *,
    crops: bool = True,
    detail_correlation: float = 0.5,
) -> DuplicateReport:
    """Pairs and groups of pictures that show the same scene; grey uint8 `images` (H, W) of any sizes, by key.

    Found: identical pixels; thumbnails (48 x 48, area-averaged) that correlate at `correlation` or more; with
    `crops`, also pictures whose fine detail correlates at `detail_correlation` or more once aligned:
    rescaled, cropped, marked or brightened copies, and neighbouring frames of one sweep.
    Not found: mirrored or rotated copies; crops that keep less than about half of the scene's area; other
    views of the same lesion or patient, whose speckle differs. A picture of one grey value equals its exact
    copies only. Where pictures share burnt-in screen furniture (scale bars, text on black) different scenes reach
    0.63: raise `detail_correlation` to 0.7 there.
    The result depends on neither the order of `images` nor any random number. Each picture is asked for once and
    only its fingerprint kept, so a mapping that decodes on demand never has the whole data set in memory.
    """
    _check_thresholds(correlation, detail_correlation)
    prints: dict[str, Fingerprint] = {}
    problems: list[str] = []
    for key in images:
        try:
            prints[key] = take_fingerprint(images[key], key)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("Images to compare must be grey: uint8 of shape (height, width).", problems)
    return match_fingerprints(prints, correlation, crops=crops, detail_correlation=detail_correlation)


def match_fingerprints(
    prints: Mapping[str, Fingerprint],
    correlation: float = 0.98,
    *,
    crops: bool = True,
    detail_correlation: float = 0.5,
) -> DuplicateReport:
    """What `find_near_duplicates` says, of pictures whose fingerprints were taken before, by key."""
    _check_thresholds(correlation, detail_correlation)
    keys = sorted(prints)
    ordered = [prints[key] for key in keys]
    scores = dict.fromkeys(_identical(ordered), 1.0)
    kinds: dict[tuple[int, int], Kind] = dict.fromkeys(scores, "identical")
    aligned: dict[tuple[int, int], Alignment] = {}
    alike: dict[tuple[int, int], float] = {}
    if len(keys) > 1:
        most = None if len(keys) <= EXACT_UP_TO else MOST_NEIGHBOURS
        thumbnails = np.stack([one.thumbnail for one in ordered])
        suspects, likeness = similar_thumbnails(thumbnails, correlation - SUSPICION if crops else correlation, most)
        alike = {(int(a), int(b)): min(1.0, float(c)) for (a, b), c in zip(suspects, likeness, strict=True)}
        if crops:
            aligned = align_crops([one.picture for one in ordered], suspects, detail_correlation, most)
    for pair in aligned.keys() | {pair for pair, score in alike.items() if score >= correlation}:
        if pair in kinds:
            continue
        same_frame = pair not in aligned or aligned[pair].same_frame
        same_size = ordered[pair[0]].shape == ordered[pair[1]].shape
        kinds[pair] = "cropped" if not same_frame else "altered" if same_size else "rescaled"
        scores[pair] = aligned[pair].correlation if pair in aligned else alike[pair]
    pairs = tuple(DuplicatePair(keys[a], keys[b], kinds[a, b], scores[a, b]) for a, b in sorted(kinds))
    return DuplicateReport(pairs, join_groups((pair.first, pair.second) for pair in pairs))


def _check_thresholds(correlation: float, detail_correlation: float) -> None:
    for name, value in (("correlation", correlation), ("detail_correlation", detail_correlation)):
        if not 0.3 <= value <= 1:
            raise SettingError(f"{name} = {value}, but it must lie in 0.3 to 1; lower values join different scenes.")


def _identical(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Pairs (a < b) of equal shape and pixels; of a set of copies each is paired with each."""
    copies: dict[tuple[tuple[int, int], bytes], list[int]] = {}
    for number, one in enumerate(prints):
        copies.setdefault((one.shape, one.digest), []).append(number)
    return [(a, b) for same in copies.values() for i, a in enumerate(same) for b in same[i + 1 :]]
