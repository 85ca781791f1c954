"""Finding: one result of a data check; KINDS has the severity and the meaning of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from taichinet.datasets.checks.strokes import Box

Severity = Literal["error", "warning", "note"]
FindingKind = str
"""A key of `KINDS`."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class KindInfo:
    """Title of a kind in reports, its severity, and its meaning for training and scores."""

    title: str
    severity: Severity
    meaning: str


@dataclass(frozen=True)
class Finding:
    """One finding on the images `keys` (or on files that belong to none).

    `weight` orders findings of one kind, highest first. `boxes` are their positions in pixels of the first image.
    """

    kind: FindingKind
    keys: tuple[str, ...]
    message: str
    weight: float = 0.0
    boxes: tuple[Box, ...] = ()

    @property
    def severity(self) -> Severity:
        """That of its kind."""
        return KINDS[self.kind].severity


def counted(count: int, noun: str) -> str:
    """`count` and the noun, in the plural unless it is one: "1 hole", "3 holes"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


KINDS: dict[FindingKind, KindInfo] = {
    "unreadable": KindInfo("Files that cannot be read", "error", "Repair or download each before training."),
    "contradictory labels": KindInfo(
        "One scene under two labels",
        "error",
        "At least one of the labels is wrong, or the mask is: drop both, or have a reader decide.",
    ),
    "split scene": KindInfo(
        "Scenes split between folds",
        "error",
        "The test fold contains training images, so its scores are too high.",
    ),
    "split patient": KindInfo(
        "Patients split between folds",
        "error",
        "The test fold contains patients of the training set, so its scores are too high.",
    ),
    "other fold file": KindInfo(
        "The fold file does not fit", "error", "It was made for other images: use those, or draw new folds."
    ),
    "empty mask": KindInfo(
        "Empty masks in a lesion class",
        "error",
        "The network learns that there is no lesion, in contradiction to the label.",
    ),
    "painted normal": KindInfo(
        "Masks with a lesion in the normal class",
        "error",
        "The label says that there is no lesion, the mask marks one.",
    ),
    "region outside": KindInfo(
        "Inner regions outside their outer one",
        "warning",
        "Inner regions count as part of the outer ones when masks are read.",
    ),
    "disagreeing masks": KindInfo(
        "Near-duplicates whose masks disagree",
        "warning",
        "The same image was annotated twice, differently: no network can be correct on both.",
    ),
    "near-duplicates": KindInfo(
        "Near-duplicates", "warning", "Keep each group on one side of every split, as the fold protocol grouped does."
    ),
    "tiny mask": KindInfo(
        "Tiny masks",
        "warning",
        "They may vanish when the image is reduced to the input resolution; check that they are lesions.",
    ),
    "inverted mask": KindInfo(
        "Masks that cover most of the image",
        "warning",
        "Lesion and background may be exchanged: 255 must be the lesion, 0 the background.",
    ),
    "several parts": KindInfo(
        "Mask files of several components",
        "warning",
        "Lesions are separate files elsewhere: check that no outline is torn.",
    ),
    "specks": KindInfo(
        "Masks with specks",
        "warning",
        "Stray pixels hardly change Dice, but a single one can determine the Hausdorff distance.",
    ),
    "holes": KindInfo("Masks with holes", "warning", "Lesions have no holes: most are slips of the outlining tool."),
    "caliper": KindInfo(
        "Caliper crosses", "warning", "They mark the border of the lesion: a network learns to find the crosses."
    ),
    "dotted line": KindInfo(
        "Dotted measuring lines", "warning", "They cross the lesion: a network learns to find the line."
    ),
    "text": KindInfo(
        "Text and pictograms", "warning", "Words such as RIGHT BREAST show the side, the device, sometimes the case."
    ),
    "drawn line": KindInfo("Drawn lines", "warning", "Sides of a Doppler or zoom box: they frame what was suspicious."),
    "colour": KindInfo(
        "Colour in grey images", "warning", "Doppler signal or coloured calipers: they mark what was suspicious."
    ),
    "outlier": KindInfo(
        "Images unlike the others",
        "note",
        "Far from the usual values of this data set: check them.",
    ),
    "several masks": KindInfo("Images with several masks", "note", "Several lesions, united when the masks are read."),
    "touches border": KindInfo(
        "Masks that touch the border of the image",
        "note",
        "The lesion is cut off: its size and its border there are unknown.",
    ),
    "corner mark": KindInfo("Marks in a corner", "note", "A maker's sign: harmless if every class has it alike."),
    "ruler": KindInfo("Rulers", "note", "Their ticks give the scale: worth reading before they are cropped away."),
    "black frame": KindInfo(
        "Black borders and corners", "note", "Cropping them away leaves the network more of the tissue."
    ),
    "left out": KindInfo("Samples that the reader leaves out", "note", "Faults of the distribution itself."),
    "not checked": KindInfo("What was not checked", "note", "Pass the original data set for a complete check."),
    "outside folds": KindInfo(
        "Images outside the folds", "note", "The fold file was drawn from fewer images, such as lesions alone."
    ),
}
