"""Settings of the augmentation for ultrasound: a probability and a range for each transformation."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from taichinet.settings import Settings


class Chance(Settings):
    """A transformation without a range. Probability 0 disables it."""

    probability: float = Field(ge=0, le=1)


class Effect(Chance):
    """A transformation whose amount is drawn uniformly from `range` = [least, greatest]."""

    range: tuple[float, float]

    @field_validator("range")
    @classmethod
    def _in_order(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError("give [least, greatest]")
        return bounds


def _within(least: float, greatest: float) -> AfterValidator:
    def check(effect: Effect) -> Effect:
        if not least <= effect.range[0] <= effect.range[1] <= greatest:
            raise ValueError(f"range {list(effect.range)} is not within [{least:g}, {greatest:g}]")
        return effect

    return AfterValidator(check)


class UltrasoundSettings(Settings):
    """Transformations that keep the direction of the beam: shadows stay below what casts them.

    Geometry has the highest probabilities, because combined geometric transformations helped most in published
    comparisons on ultrasound; strong artefacts of intensity can hurt and are rarer. Each transformation is drawn
    independently of the others; an image has five of them on average. Lengths are shares of the image side.

    Attributes:
        zoom: Magnification. Below 1 the lesion becomes smaller, because small lesions are missed most: 0.5 is a quarter
            of its area. The image stays at the top edge, as with a greater depth setting. Half of the images continue
            mirrored at both sides, the others are black there, so that a black frame does not reveal a small lesion.
        crop: Share of each side that is kept, drawn separately for width and height: images of other machines have
            other aspect ratios, and all are resized to a square. The window is at a random position.
        translation: Shift along each axis, as a share of the side.
        rotation: Degrees; the probe is tilted by about as much.
        flip: Horizontal flip. A vertical one would move shadows above what casts them.
        sector: Width of the top of a trapezoidal field of view with a curved bottom; black outside, also in the masks.
        gain: Factor of the grey values; black stays black.
        depth_gain: Factor at the bottom, and its inverse at the top, as set by the time gain compensation.
        contrast: Exponent of the grey values; above 1 dark tissue becomes darker and relative contrast increases.
        speckle: Standard deviation of a correlated multiplicative noise of mean 1. The grain is one to three pixels at
            224 px, wider than high.
        shadow: Share of the brightness that remains below a random point.
        blur: Weight of the image smoothed over five pixels; a negative value sharpens, as edge enhancement does.
        marks: Grey value of burnt-in calipers, digits and rulers, at random positions, so that they do not indicate a
            lesion.
        resolution: Share of the pixels of each side that remain before the image is enlarged again.
    """

    zoom: Annotated[Effect, _within(0.2, 5)] = Effect(probability=0.7, range=(0.5, 1.3))
    crop: Annotated[Effect, _within(0.2, 1)] = Effect(probability=0.3, range=(0.75, 1.0))
    translation: Annotated[Effect, _within(-1, 1)] = Effect(probability=0.4, range=(-0.1, 0.1))
    rotation: Annotated[Effect, _within(-45, 45)] = Effect(probability=0.3, range=(-8, 8))
    flip: Chance = Chance(probability=0.5)
    sector: Annotated[Effect, _within(0.1, 1)] = Effect(probability=0.15, range=(0.5, 1.0))
    shadow: Annotated[Effect, _within(0, 1)] = Effect(probability=0.25, range=(0.15, 0.7))
    speckle: Annotated[Effect, _within(0, 2)] = Effect(probability=0.3, range=(0.05, 0.2))
    depth_gain: Annotated[Effect, _within(0.1, 10)] = Effect(probability=0.4, range=(0.6, 1.6))
    gain: Annotated[Effect, _within(0, 10)] = Effect(probability=0.5, range=(0.7, 1.4))
    contrast: Annotated[Effect, _within(0.1, 10)] = Effect(probability=0.4, range=(0.7, 1.5))
    blur: Annotated[Effect, _within(-4, 1)] = Effect(probability=0.3, range=(-1.0, 1.0))
    marks: Annotated[Effect, _within(0, 1)] = Effect(probability=0.3, range=(0.6, 1.0))
    resolution: Annotated[Effect, _within(0.25, 1)] = Effect(probability=0.2, range=(0.35, 0.8))
