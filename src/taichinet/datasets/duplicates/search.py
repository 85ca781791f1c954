"""Find images that show the same scene, so that cross-validation keeps them on one side of every split.

BUSI contains many images several times: at another size, with another crop, with and without calipers, even with
contradictory labels. If one of them is in the training set and one in the test set, scores are too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from taichinet.datasets.catalogue import CATALOGUE
from taichinet.datasets.dataset import ULTRASOUND, DuplicateThresholds
from taichinet.datasets.duplicates.alignment import Alignment, align_crops
from taichinet.datasets.duplicates.fingerprint import Fingerprint, IntArray
from taichinet.datasets.duplicates.sketches import similar_thumbnails
from taichinet.datasets.manifest import Manifest
from taichinet.groups import join_groups
from taichinet.progress import tracked

Kind = Literal["identical", "altered", "rescaled", "cropped"]

CANDIDATE_MARGIN = 0.05  # thumbnails up to this far below their threshold are aligned to decide
EXACT_UP_TO = 1000  # images; for more, the cost grows with their number instead of its square
MOST_NEIGHBOURS = 12  # images that each is compared with beyond `EXACT_UP_TO`; 24 find no further pair in BUSI


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that show one scene.

    Attributes:
        first: Key of one image, less than `second`.
        second: Key of the other image.
        kind: "identical" pixels; "altered": same size and frame, other pixels (marks, brightness, compression);
            "rescaled": same frame, other size; "cropped": another frame.
        score: 1 for identical images, otherwise the correlation of fine detail after alignment, or that of the
            thumbnails for a pair that only the thumbnails found.
    """

    first: str
    second: str
    kind: Kind
    score: float


@dataclass(frozen=True)
class DuplicateReport:
    """All pairs, sorted by keys, and the groups that they form, each sorted and sorted among themselves."""

    pairs: tuple[DuplicatePair, ...]
    groups: tuple[tuple[str, ...], ...]

    @property
    def covered(self) -> int:
        """Number of images in groups."""
        return sum(len(group) for group in self.groups)


def manifest_duplicates(manifest: Manifest) -> DuplicateReport:
    """Find the near-duplicates of a data set with the thresholds of its kind of images.

    Args:
        manifest: The data set. Images are decoded unless `manifest.files` has kept their reduced versions.

    Returns:
        Pairs and groups of keys.

    Raises:
        DataError: An image cannot be read.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        fingerprints = pool.map(lambda sample: manifest.files.take_whole_fingerprint(sample.image), manifest.samples)
        fingerprints = tracked(fingerprints, "comparing images", len(manifest.samples))
        by_key = dict(zip(manifest.keys, fingerprints, strict=True))
    return match_fingerprints(by_key, duplicate_thresholds(manifest))


def duplicate_thresholds(manifest: Manifest) -> DuplicateThresholds:
    """The correlations from which two images of `manifest` are near-duplicates; those of ultrasound by default.

    The highest of them for joined data sets.
    """
    found = [CATALOGUE[name].thresholds for name in manifest.datasets or (manifest.name,) if name in CATALOGUE]
    found = found or [ULTRASOUND]
    return DuplicateThresholds(max(t.thumbnail for t in found), max(t.detail for t in found))


def match_fingerprints(
    fingerprints: Mapping[str, Fingerprint], thresholds: DuplicateThresholds = ULTRASOUND
) -> DuplicateReport:
    """Find images that show the same scene.

    Found are identical pixels, correlating thumbnails (48 x 48, averaged over areas) and images whose fine detail
    correlates once aligned: rescaled, cropped, marked or brightened versions, and neighbouring frames of one sweep. Not
    found are mirrored or rotated versions, crops with less than about half of the area of the scene, and other views of
    the same lesion or patient, whose speckle differs. An image of one grey value only equals identical ones. If images
    share parts of the screen (scale bars, text on black), different scenes reach 0.63: raise `thresholds.detail` to
    0.7. The result depends neither on the order of `fingerprints` nor on random numbers.

    Args:
        fingerprints: Key -> fingerprint. Those without a reduced image are compared by pixels and thumbnails only.
        thresholds: Correlations from which two images count as near-duplicates.

    Returns:
        Pairs and groups of keys.
    """
    keys = sorted(fingerprints)
    ordered = [fingerprints[key] for key in keys]
    scores = dict.fromkeys(_identical(ordered), 1.0)
    kinds: dict[tuple[int, int], Kind] = dict.fromkeys(scores, "identical")
    aligned: dict[tuple[int, int], Alignment] = {}
    similarity: dict[tuple[int, int], float] = {}
    if len(keys) > 1:
        most = None if len(keys) <= EXACT_UP_TO else MOST_NEIGHBOURS
        least = thresholds.thumbnail - CANDIDATE_MARGIN
        candidates, correlations = similar_thumbnails(np.stack([f.thumbnail for f in ordered]), least, most)
        similarity = {(int(a), int(b)): min(1.0, float(c)) for (a, b), c in zip(candidates, correlations, strict=True)}
        aligned = _aligned(ordered, candidates, thresholds.detail, most)
    for pair in aligned.keys() | {pair for pair, score in similarity.items() if score >= thresholds.thumbnail}:
        if pair in kinds:
            continue
        same_frame = pair not in aligned or aligned[pair].same_frame
        same_size = ordered[pair[0]].shape == ordered[pair[1]].shape
        kinds[pair] = "cropped" if not same_frame else "altered" if same_size else "rescaled"
        scores[pair] = aligned[pair].correlation if pair in aligned else similarity[pair]
    pairs = tuple(DuplicatePair(keys[a], keys[b], kinds[a, b], scores[a, b]) for a, b in sorted(kinds))
    return DuplicateReport(pairs, join_groups((pair.first, pair.second) for pair in pairs))


def _aligned(
    fingerprints: Sequence[Fingerprint], similar: IntArray, threshold: float, most: int | None
) -> dict[tuple[int, int], Alignment]:
    """The result of `align_crops` for the images that have a reduced version, with their numbers among all images."""
    images = {number: f.reduced for number, f in enumerate(fingerprints) if f.reduced is not None}
    if not images:
        return {}
    numbers = np.array(list(images), dtype=np.intp)
    both = np.isin(similar, numbers).all(axis=1)
    found = align_crops(list(images.values()), np.searchsorted(numbers, similar[both]), threshold, most)
    return {(int(numbers[a]), int(numbers[b])): alignment for (a, b), alignment in found.items()}


def _identical(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """All pairs (a < b) of equal shape and pixels."""
    numbers: dict[str, list[int]] = {}
    for number, fingerprint in enumerate(fingerprints):
        numbers.setdefault(fingerprint.digest, []).append(number)
    return [(a, b) for same in numbers.values() for i, a in enumerate(same) for b in same[i + 1 :]]
