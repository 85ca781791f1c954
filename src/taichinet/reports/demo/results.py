"""What `taichinet demo` computes: masks of the example images, leaks of folds, the verdict of the comparison."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.examples import Example, list_examples
from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.image_io import read_grey
from taichinet.datasets.manifest import Manifest
from taichinet.evaluation.metrics import dice_score
from taichinet.experiments.cross_validate import Study
from taichinet.experiments.records import network_title
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.inference.shipped import shipped_weights
from taichinet.reports.document.format import interval, probability
from taichinet.reports.paper_tables.comparisons import Comparison

SEEN = "The network in the package was trained on these 12 images: its Dice here is not a test result."


@dataclass(frozen=True)
class Segmented:
    """An example image with the mask of the network in the package; `dice` is None for a normal image."""

    example: Example
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    dice: float | None

    def texts(self) -> tuple[str, str]:
        """The result in words, and that of the network that had not seen the image."""
        example = self.example
        return (
            _in_words(bool(self.mask.any()), self.dice),
            _in_words(example.unseen_prediction, example.unseen_dice),
        )

    def to_json_dict(self) -> dict[str, Any]:
        """The result without pixels."""
        return {
            "file": self.example.image.name,
            "lesion": self.example.lesion,
            "dice": self.dice,
            "prediction": bool(self.mask.any()),
            "unseen_dice": self.example.unseen_dice,
            "unseen_prediction": self.example.unseen_prediction,
        }


def _in_words(outlined: bool, dice: float | None) -> str:
    """The Dice; for a normal image (None) whether a lesion is outlined."""
    if dice is None:
        return "one outlined" if outlined else "none outlined"
    return f"{dice:.2f}" if outlined else "missed"


@dataclass(frozen=True)
class Leaks:
    """How fold protocols treat near-duplicates that are known, because the phantoms were written twice.

    Attributes:
        pairs: Number of known pairs.
        found: Number of those that the search for near-duplicates found.
        folds: Number of folds.
        random: Number of pairs whose images are in different folds with random folds.
        grouped: The same number with grouped folds.
        shown: Keys of the pair that the page shows.
    """

    pairs: int
    found: int
    folds: int
    random: int
    grouped: int
    shown: tuple[str, str]


@dataclass(frozen=True)
class DemoResults:
    """What the demo computed."""

    segmented: Sequence[Segmented]
    seconds_per_image: float
    leaks: Leaks
    manifest: Manifest
    studies: Sequence[Study]
    comparison: Comparison
    machine: Mapping[str, Any]
    seconds: float


def segment_examples() -> tuple[list[Segmented], float]:
    """Segment the examples with the network in the package.

    Returns:
        The results in the order of `list_examples`, and the median time per image in seconds.
    """
    predictor, _ = open_predictor(shipped_weights(), PredictorChoices(disagreement=False))
    results, seconds = [], []
    for example in list_examples():
        image, truth = read_grey(example.image), read_grey(example.mask) > 0
        start = time.perf_counter()
        mask = predictor.predict(image).mask
        seconds.append(time.perf_counter() - start)
        results.append(Segmented(example, image, truth, mask, dice_score(mask, truth) if example.lesion else None))
    return results, float(np.median(seconds))


def count_leaks(known: Sequence[tuple[str, str]], random: FoldPlan, grouped: FoldPlan) -> Leaks:
    """Count the known pairs that were found, and those whose images are in different folds of two plans."""
    group_of = {key: number for number, group in enumerate(grouped.groups) for key in group}
    separated = {
        plan.protocol: [pair for pair in known if plan.fold_of[pair[0]] != plan.fold_of[pair[1]]]
        for plan in (random, grouped)
    }
    return Leaks(
        len(known),
        sum(first in group_of and group_of[first] == group_of.get(second) for first, second in known),
        random.count,
        len(separated[random.protocol]),
        len(separated[grouped.protocol]),
        (separated[random.protocol] or list(known))[0],
    )


def results_json(results: DemoResults) -> dict[str, Any]:
    """The results as values of JSON."""
    test = results.comparison.test
    return {
        "examples": [segmented.to_json_dict() for segmented in results.segmented],
        "folds": asdict(results.leaks),
        "comparison": {
            "images": test.images,
            "difference": test.difference.mean,
            "interval": [test.difference.low, test.difference.high] if test.difference.bounded else None,
            "p": None if np.isnan(test.p) else test.p,
            "verdict": results.comparison.verdict,
        },
        "results": [study.folds[0].record.to_json_dict() for study in results.studies],
    }


def verdict_text(comparison: Comparison, studies: Sequence[Study]) -> str:
    """What the comparison shows and does not show, in plain words."""
    first, second = (title_of_study(study) for study in studies)
    record = studies[0].folds[0].record
    difference = interval(comparison.test.difference)
    p = probability(comparison.p_holm)
    of = f"mean difference in Dice {difference}{f', p {p}' if p else ''}"
    size = (
        f"Both were trained for {record.experiment.training.epochs} epochs on {record.images.train} simulated images "
        f"of {record.experiment.data.size} × {record.experiment.data.size} pixels"
    )
    if comparison.verdict == "unclear":
        return (
            f"No difference between {first} and {second} can be shown on these {comparison.test.images} test images: "
            f"{of}. {size}. That is far too little to rank them, and it does not show that they are equal."
        )
    better = first if comparison.verdict == "higher" else second
    return (
        f"{better} has the higher Dice on these {comparison.test.images} test images: {of}. {size}. This holds for "
        "these two short trainings, not for the networks in general and not for images of patients."
    )


def title_of_study(study: Study) -> str:
    """The title of its network."""
    return network_title(study.folds[0].record.experiment.model)
