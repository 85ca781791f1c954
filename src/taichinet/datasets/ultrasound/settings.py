"""Settings of the augmentation for ultrasound: a probability and a range for each transformation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from taichinet.settings import Settings


class Chance(Settings):
    """A transformation without a range. Probability 0 disables it."""

    probability: float = Field(ge=0, le=1, description="for each image; 0: never")


class Effect(Chance):
    """A transformation whose amount is drawn uniformly from `range` = [least, greatest]."""

    range: tuple[float, float] = Field(description="[least, greatest] amount")

    @field_validator("range")
    @classmethod
    def _in_order(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError("give [least, greatest]")
        return bounds


@dataclass(frozen=True)
class Within:
    """Check that the range of an effect is within bounds, which `taichinet recipes` prints."""

    least: float
    greatest: float

    def __call__(self, effect: Effect) -> Effect:
        """`effect`; raises ValueError."""
        if not self.least <= effect.range[0] <= effect.range[1] <= self.greatest:
            raise ValueError(f"range {list(effect.range)} is not within [{self.least:g}, {self.greatest:g}]")
        return effect


def _within(least: float, greatest: float) -> AfterValidator:
    return AfterValidator(Within(least, greatest))


class UltrasoundSettings(Settings):
    """Transformations that keep the direction of the beam: shadows stay below what casts them.

    Geometry has the highest probabilities, because combined geometric transformations helped most in published
    comparisons on ultrasound; strong artefacts of intensity can hurt and are rarer. Each transformation is drawn
    independently of the others; an image has five of them on average. Lengths are shares of the image side.
    """

    zoom: Annotated[Effect, _within(0.2, 5)] = Field(
        default=Effect(probability=0.7, range=(0.5, 1.3)),
        description="magnification. Below 1 the lesion becomes smaller, because small lesions are missed "
        "most: 0.5 is a quarter of its area. The image stays at the top edge, as with a greater "
        "depth setting. Half of the images continue mirrored at both sides, the others are black "
        "there, so that a black frame does not reveal a small lesion",
    )
    crop: Annotated[Effect, _within(0.2, 1)] = Field(
        default=Effect(probability=0.3, range=(0.75, 1.0)),
        description="share of each side that is kept, drawn separately for width and height: images of other "
        "machines have other aspect ratios, and all are resized to a square. The window is at a "
        "random position",
    )
    translation: Annotated[Effect, _within(-1, 1)] = Field(
        default=Effect(probability=0.4, range=(-0.1, 0.1)),
        description="shift along each axis, as a share of the side",
    )
    rotation: Annotated[Effect, _within(-45, 45)] = Field(
        default=Effect(probability=0.3, range=(-8, 8)),
        description="degrees; the probe is tilted by about as much",
    )
    flip: Chance = Field(
        default=Chance(probability=0.5),
        description="horizontal flip. A vertical one would move shadows above what casts them",
    )
    sector: Annotated[Effect, _within(0.1, 1)] = Field(
        default=Effect(probability=0.15, range=(0.5, 1.0)),
        description="width of the top of a trapezoidal field of view with a curved bottom; black outside, "
        "also in the masks",
    )
    shadow: Annotated[Effect, _within(0, 1)] = Field(
        default=Effect(probability=0.25, range=(0.15, 0.7)),
        description="share of the brightness that remains below a random point",
    )
    speckle: Annotated[Effect, _within(0, 2)] = Field(
        default=Effect(probability=0.3, range=(0.05, 0.2)),
        description="standard deviation of a correlated multiplicative noise of mean 1. The grain is one to "
        "three pixels at 224 px, wider than high",
    )
    depth_gain: Annotated[Effect, _within(0.1, 10)] = Field(
        default=Effect(probability=0.4, range=(0.6, 1.6)),
        description="factor at the bottom, and its inverse at the top, as set by the time gain compensation",
    )
    gain: Annotated[Effect, _within(0, 10)] = Field(
        default=Effect(probability=0.5, range=(0.7, 1.4)),
        description="factor of the grey values; black stays black",
    )
    contrast: Annotated[Effect, _within(0.1, 10)] = Field(
        default=Effect(probability=0.4, range=(0.7, 1.5)),
        description="exponent of the grey values; above 1 dark tissue becomes darker and relative contrast increases",
    )
    blur: Annotated[Effect, _within(-4, 1)] = Field(
        default=Effect(probability=0.3, range=(-1.0, 1.0)),
        description="weight of the image smoothed over five pixels; a negative value sharpens, as edge "
        "enhancement does",
    )
    marks: Annotated[Effect, _within(0, 1)] = Field(
        default=Effect(probability=0.3, range=(0.6, 1.0)),
        description="grey value of burnt-in calipers, digits and rulers, at random positions, so that they do "
        "not indicate a lesion",
    )
    resolution: Annotated[Effect, _within(0.25, 1)] = Field(
        default=Effect(probability=0.2, range=(0.35, 0.8)),
        description="share of the pixels of each side that remain before the image is enlarged again",
    )
