"""ValidationCard: all that an external-validation card says, as plain values; `external.py` fills it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taichinet.evaluation.calibration import Calibration
from taichinet.evaluation.uncertainty import RESAMPLES, Interval
from taichinet.evaluation.undefined import EmptyTruthPolicy, ImageSize


@dataclass(frozen=True)
class Origin:
    """Where the weights come from; None where they do not tell. `size` in pixels, images being size x size."""

    name: str
    model: str
    size: int
    threshold: float
    trained_on: str | None = None
    trained_images: int | None = None
    trained_on_normal: bool | None = None
    protocol: str | None = None
    fold: int | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Cohort:
    """The images that were scored, one region of them.

    `clusters` counts the groups that the intervals draw (patients, near-duplicates): as many as images where none are
    known. `note` is a sentence on which images were left out and why.
    """

    dataset: str
    title: str
    images_by_class: Mapping[str, int]
    clusters: int
    licence: str
    source: str
    citation: str
    digest: str
    region: str = "lesion"
    note: str = ""

    @property
    def images(self) -> int:
        """All of them."""
        return sum(self.images_by_class.values())


@dataclass(frozen=True)
class GroupCard:
    """Scores of one group, 'lesion', 'all' or a class: means over its images, by name as in `SCORES`.

    `policy` as in `GroupScores`. Both calibrations are None where no probabilities were kept.
    """

    group: str
    policy: EmptyTruthPolicy | None
    images: int
    scores: Mapping[ImageSize, Mapping[str, Interval]]
    whole: Calibration | None = None
    uncertain: Calibration | None = None


@dataclass(frozen=True)
class NormalCard:
    """What was found where nothing is: share of normal images with any predicted pixel, share of area predicted.

    `detection_auc` as its function gives it, NaN without probabilities.
    """

    images: int
    false_positive_rate: Interval
    false_positive_area: Interval
    detection_auc: float


@dataclass(frozen=True)
class Comparison:
    """A mean score on images of the training's own data set that took no part in it, and how far this one is off.

    `difference` is here minus there, over lesion images at network size; without bounds where only the internal mean is
    known.
    """

    score: str
    internal: float
    external: float
    difference: Interval


@dataclass(frozen=True)
class WorstCase:
    """One of the lesion images with the lowest Dice; `picture` is a PNG as `case_images` draws it."""

    key: str
    label: str
    dice: float
    sensitivity: float
    precision: float
    picture: bytes | None = None


@dataclass(frozen=True)
class ValidationCard:
    """One set of weights on one set of images.

    `lesion` is the headline. `all_images` holds both policies where there are normal images, else nothing; `by_class`
    holds classes of lesion images only. `missed` counts lesion images of which no pixel was found. `worst` stands worst
    first. `external`: nothing of the images' data set took part in the training, as far as the weights tell. `commit`
    is of the code that scored, `resamples` and `seed` are of the bootstrap, `made` further facts as (name, value).
    `internal_grouped`: near-duplicates and patients of the internal images are known, and drawn together.
    """

    origin: Origin
    cohort: Cohort
    lesion: GroupCard
    by_class: tuple[GroupCard, ...]
    external: bool
    all_images: tuple[GroupCard, ...] = ()
    normal: NormalCard | None = None
    comparison: tuple[Comparison, ...] = ()
    internal_images: int | None = None
    internal_grouped: bool = False
    missed: int = 0
    worst: tuple[WorstCase, ...] = ()
    commit: str | None = None
    resamples: int = RESAMPLES
    seed: int = 0
    made: tuple[tuple[str, str], ...] = ()

    @property
    def overall(self) -> GroupCard:
        """All images that were scored: with the normal ones where there are some."""
        return self.all_images[0] if self.all_images else self.lesion
