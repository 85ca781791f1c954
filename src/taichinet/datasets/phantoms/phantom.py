"""Simulated B-mode breast ultrasound with known lesions.

Steps: layered tissue (dB per pixel), look-alikes, loss along the beam, lesions and the shadows they cast, speckle
blurred by pulse and beam, envelope, log compression. No data of patients are used; grey levels were set by eye and by
histogram to resemble BUSI. Lengths are shares of the image side unless they say pixels; echo and loss are in decibels,
maps (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import expit

from taichinet.errors import SettingError, unknown_name

Label = Literal["benign", "malignant", "normal"]
FloatMap = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Range = tuple[float, float]
LABELS: tuple[Label, ...] = get_args(Label)
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)
SMALLEST_SIDE = 64  # pixels


@dataclass(frozen=True)
class Phantom:
    """One simulated image: `image` (H, W) uint8, `lesion` (H, W) bool (all False when normal), `label`."""

    image: npt.NDArray[np.uint8]
    lesion: Mask
    label: Label


def make_phantom(rng: np.random.Generator, label: Label, height: int = 192, width: int = 256) -> Phantom:
    """Simulate one image; about one lesion image in twelve has a second, separate lesion.

    Args:
        rng: Source of randomness.
        label: "benign", "malignant" or "normal".
        height: Height in pixels.
        width: Width in pixels.

    Returns:
        The image and its lesion mask.

    Raises:
        SettingError: The label or the size is not supported.
    """
    if label not in LABELS:
        raise unknown_name("label", label, LABELS)
    check_size(height, width)
    shape = (height, width)
    echo = draw_tissue(rng, shape)
    echo = add_look_alikes(rng, echo)
    loss = draw_background_loss(rng, shape)
    lesion = np.zeros(shape, dtype=bool)
    if label != "normal":
        share = np.exp(rng.uniform(np.log(0.024), np.log(0.20)))
        echo, loss, lesion = add_lesion(rng, label, echo, loss, lesion, share)
        if rng.random() < 1 / 12:
            echo, loss, lesion = add_lesion(rng, label, echo, loss, lesion, rng.uniform(0.012, 0.035))
    envelope = speckle_envelope(rng, echo - loss, looks=int(rng.integers(3, 6)))
    return Phantom(log_compress(rng, envelope), lesion, label)


def second_version(rng: np.random.Generator, phantom: Phantom) -> Phantom:
    """A near-duplicate as in BUSI, where many images are in the data set twice: another crop and other grey values."""
    height, width = phantom.lesion.shape
    top, bottom = (round(share * height) for share in rng.uniform(0.0, 0.06, 2))
    left, right = (round(share * width) for share in rng.uniform(0.02, 0.08, 2))
    rows, columns = slice(top, height - bottom), slice(left, width - right)
    grey = 255 * (phantom.image[rows, columns] / 255) ** rng.uniform(0.75, 1.3)
    return replace(phantom, image=np.rint(grey).astype(np.uint8), lesion=phantom.lesion[rows, columns].copy())


def speckle_envelope(rng: np.random.Generator, echo_db: FloatMap, looks: int = 1) -> FloatMap:
    """Envelope (H, W) of random scatterers of strength `echo_db`: the mean power of `looks` images.

    Scatterers are complex Gaussian, so one look of uniform tissue is Rayleigh distributed (mean/std = 1.91).
    """
    height, _ = echo_db.shape
    scale = height / 192
    amplitude = 10 ** (echo_db / 20)
    widening = np.linspace(0, 1, height)[:, None]
    power = np.zeros_like(amplitude)
    for _ in range(looks):
        for noise in rng.standard_normal((2, *echo_db.shape)):  # real and imaginary part
            pulse = ndimage.gaussian_filter1d(noise * amplitude, 0.65 * scale, axis=0, truncate=3.0)
            near = ndimage.gaussian_filter1d(pulse, 1.2 * scale, axis=1, truncate=3.0)
            far = ndimage.gaussian_filter1d(pulse, 2.4 * scale, axis=1, truncate=3.0)
            # The beam is twice as wide at the bottom; sqrt(2) keeps uniform tissue level to 0.3 dB.
            power += ((1 - widening) * near + widening * np.sqrt(2) * far) ** 2
    return np.sqrt(power / looks)


def log_compress(rng: np.random.Generator, envelope: FloatMap) -> npt.NDArray[np.uint8]:
    """Grey values 0-255 over a dynamic range of 50 to 60 dB below the brightest half per cent."""
    dynamic_range_db = rng.uniform(50, 60)
    reference = np.quantile(envelope, 0.995)
    noise_floor = reference * 10 ** (-rng.uniform(46, 54) / 20)
    level_db = 20 * np.log10(np.hypot(envelope, noise_floor * rng.rayleigh(size=envelope.shape)) / reference)
    grey = np.clip(1 + level_db / dynamic_range_db, 0, 1) ** rng.uniform(1.3, 2.2)
    grey = ndimage.gaussian_filter(grey, 0.5 * envelope.shape[0] / 192)  # the scanner's display filter
    return np.rint(255 * rng.uniform(0.75, 1.0) * grey).astype(np.uint8)


def check_size(height: int, width: int) -> None:
    """Raise SettingError for sides that the simulation cannot fill."""
    if min(height, width) < SMALLEST_SIDE or max(height, width) > 3 * min(height, width):
        raise SettingError(
            f"A phantom of {height} x {width} cannot be drawn. "
            f"Give sides of at least {SMALLEST_SIDE} pixels, the longer at most three times the shorter."
        )


@dataclass(frozen=True)
class Kind:
    """How often a kind of lesion occurs in its class, and the ranges its appearance is drawn from."""

    weight: float
    contrast: Range
    shadow: Range  # negative: enhancement
    see_through: Range = (0.1, 0.35)  # share of the tissue's own pattern that goes on inside
    grain: Range = (0.5, 1.5)
    rim: Range = (2, 8)
    edge_shadow: Range = (0, 6)
    edge_softness: Range = (0.005, 0.011)
    frayed: Range = (0.0, 0.006)
    widths_to_heights: Range = (1.1, 2.3)


HYPO = Kind(0.5, contrast=(-18, -8), shadow=(-6, 3))
CYST = Kind(0.25, contrast=(-36, -24), shadow=(-9, -4), see_through=(0.0, 0.05))
CANCER = Kind(0.85, (-22, -10), (2, 20), (0.2, 0.55), (1, 3), (0, 5), (0, 2), (0.012, 0.026), (0.008, 0.02), (0.7, 1.6))
KINDS: dict[Label, tuple[Kind, ...]] = {
    "benign": (
        HYPO,
        CYST,
        replace(HYPO, weight=0.17, contrast=(-6, -3)),
        replace(HYPO, weight=0.08, contrast=(4, 8)),
    ),
    "malignant": (CANCER, replace(CANCER, weight=0.15, contrast=(-7, -4))),
    "normal": (),
}


def draw_tissue(rng: np.random.Generator, shape: tuple[int, int]) -> FloatMap:
    """Echo level (H, W) of a breast without lesion: skin, fat, gland, muscle, chest wall, their fibres."""
    height, width = shape
    depth = np.linspace(0, 1, height)[:, None]
    fat_end = rng.uniform(0.12, 0.40)
    gland_end = rng.uniform(max(0.5, fat_end + 0.2), 0.85)
    ends = (rng.uniform(0.015, 0.04), fat_end, gland_end, rng.uniform(gland_end + 0.08, 1.1))
    skin, fat, gland, muscle, wall = np.array([-4, -15, -7, -15, -24]) + rng.uniform(-3, 3, 5)
    waviness = (0.004, rng.uniform(0.015, 0.05), rng.uniform(0.01, 0.03), 0.015)
    raggedness = (0.0, rng.uniform(0.005, 0.03), 0.01, 0.0)
    echo = np.full(shape, skin)
    edges = []
    for end, wave, ragged, step in zip(
        ends, waviness, raggedness, np.diff([skin, fat, gland, muscle, wall]), strict=True
    ):
        line = end + wave * _smooth_field(rng, (1, width), 1.0, 0.2 * width)
        line = line + ragged * _smooth_field(rng, shape, 0.06 * height, 0.09 * width)
        edges.append(expit((depth - line) / 0.008))
        echo += step * edges[-1]
        # Fascia: the bright sheet between two layers, broken in places.
        fascia = np.exp(-(((depth - line) / 0.007) ** 2))
        echo += rng.uniform(2, 10) * fascia * expit(2 * _smooth_field(rng, (1, width), 1.0, 0.08 * width))
    in_gland = edges[1] * (1 - edges[2])
    in_muscle = edges[2]
    # Fibres: the zero lines of a flat-lying random field are thin curves that branch and enclose lobules.
    bend = rng.uniform(0.015, 0.045) * height * _smooth_field(rng, shape, 0.4 * height, 0.33 * width)
    bend = bend + rng.uniform(-0.12, 0.12) * np.arange(width)[None, :]
    rows, columns = np.mgrid[0.0:height, 0.0:width]
    flow = np.stack([rows + bend, columns])
    ligaments = _flowing(_smooth_field(rng, shape, 0.035 * height, 0.24 * width), flow)
    present = expit(2.5 * _smooth_field(rng, shape, 0.12 * height, 0.15 * width) - rng.uniform(-1, 1.5))
    echo += rng.uniform(10, 17) * present * np.exp(-((ligaments / 0.13) ** 2)) * (1 - 0.4 * in_muscle)
    streaks = _flowing(_smooth_field(rng, shape, 0.011 * height, rng.uniform(0.035, 0.09) * width), flow)
    echo += streaks * (rng.uniform(1.0, 2.0) + rng.uniform(0.8, 3.0) * in_gland + rng.uniform(1.5, 3.5) * in_muscle)
    patches = _flowing(_smooth_field(rng, shape, 0.05 * height, 0.08 * width), flow)
    return echo + patches * (0.8 + rng.uniform(0.5, 3.0) * in_gland)


def add_look_alikes(rng: np.random.Generator, echo: FloatMap) -> FloatMap:
    """`echo` with dark fat lobules and vessels in about half of the images; they belong to no mask."""
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.5, 0.25, 0.15, 0.1]))):
        if rng.random() < 0.65:  # a fat lobule: soft edge, little contrast, speckled inside
            roughness, share, flat, softness, drop = 0.05, (0.006, 0.04), (1.4, 3.0), 0.012, (4, 9)
        else:  # a vessel or duct: small, flat and nearly without echo
            roughness, share, flat, softness, drop = 0.08, (0.001, 0.005), (1.0, 5.0), 0.005, (10, 22)
        _, edge_distance = _place(
            rng, echo.shape, _rough_radius(rng, roughness, 4), rng.uniform(*share), flat, softness
        )
        echo = echo - rng.uniform(*drop) * expit(edge_distance)
    return echo


def draw_background_loss(rng: np.random.Generator, shape: tuple[int, int]) -> FloatMap:
    """Decibels (H, W) lost to depth beyond what the gain makes up for, and to poor contact of the probe."""
    height, width = shape
    depth = np.linspace(0, 1, height)[:, None]
    across = np.linspace(0, 1, width)[None, :]
    loss = rng.uniform(12, 36) * depth ** rng.uniform(1.0, 2.2) + rng.uniform(0, 4) * (1 - depth) ** 6
    streaky_beams = _smooth_field(rng, (1, width), 1.0, 0.06 * width)
    loss = loss + rng.uniform(0.5, 2.0) * depth * streaky_beams
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15]))):
        centre, spread = rng.uniform(-0.1, 1.1), rng.uniform(0.05, 0.16)
        onset = expit((depth - rng.uniform(0.0, 0.5)) / 0.09)
        drift = rng.uniform(-0.1, 0.1) * depth
        loss = loss + rng.uniform(3, 12) * onset * np.exp(-(((across - centre - drift) / spread) ** 2))
    return loss


def add_lesion(
    rng: np.random.Generator, label: Label, echo: FloatMap, loss: FloatMap, taken: Mask, share: float
) -> tuple[FloatMap, FloatMap, Mask]:
    """`echo`, `loss` and the mask with one more lesion, or unchanged if none fits outside `taken`."""
    kinds = KINDS[label]
    kind = kinds[rng.choice(len(kinds), p=[kind.weight for kind in kinds])]
    radius = _rough_radius(rng, rng.uniform(0.02, 0.07), 4) if label == "benign" else _spiculated_radius(rng)
    softness = rng.uniform(*kind.edge_softness)
    keep_out = ndimage.binary_dilation(taken, EIGHT_NEIGHBOURS, iterations=5) if taken.any() else taken
    for _ in range(20):
        inside, edge_distance = _place(rng, echo.shape, radius, share, kind.widths_to_heights, softness)
        if not (inside & keep_out).any():
            break
    else:
        return echo, loss, taken
    height, width = echo.shape
    fray = rng.uniform(*kind.frayed) / softness * _smooth_field(rng, echo.shape, 0.025 * height, 0.03 * width)
    soft = expit(edge_distance + fray)
    around = echo[inside].mean()
    inner = around + rng.uniform(*kind.contrast) + rng.uniform(*kind.see_through) * (echo - around)
    inner += rng.uniform(*kind.grain) * _smooth_field(rng, echo.shape, 0.03 * height, 0.05 * width)
    halo = ndimage.gaussian_filter(soft, 0.02 * height) * (1 - soft)
    facing_probe = 0.02 * height * np.abs(np.gradient(soft, axis=0))  # a capsule reflects where it is flat
    rim = rng.uniform(*kind.rim)
    echo = (1 - soft) * (echo + 1.5 * rim * halo) + soft * inner + rim * facing_probe
    thickness = np.cumsum(soft, axis=0)
    sides = np.cumsum(np.abs(np.gradient(soft, axis=1)), axis=0)
    cast = rng.uniform(*kind.shadow) * thickness / thickness.max()
    cast += rng.uniform(*kind.edge_shadow) * sides / sides.max()
    fading = 1 - 0.3 * np.linspace(0, 1, height)[:, None]
    loss = loss + fading * ndimage.gaussian_filter1d(cast, 0.012 * width, axis=1)
    return echo, loss, taken | inside


def _rough_radius(rng: np.random.Generator, roughness: float, orders: int) -> FloatMap:
    """Radius (360,) by degree of a round shape with waves of order 2 to `orders`."""
    angle = np.deg2rad(np.arange(360.0))[:, None]
    order = np.arange(2, orders + 1)
    waves = np.cos(order * angle + rng.uniform(0, 2 * np.pi, order.size))
    radius = 1 + waves @ (roughness * rng.standard_normal(order.size) * (2 / order) ** 0.5)
    clipped: FloatMap = np.clip(radius, 0.45, 1.6)
    return clipped


def _spiculated_radius(rng: np.random.Generator) -> FloatMap:
    """Radius (360,) by degree of a lobulated shape with pointed outgrowths."""
    radius = _rough_radius(rng, rng.uniform(0.06, 0.13), 8)
    degrees = np.arange(360.0)
    for _ in range(int(rng.integers(2, 12))):
        apart = np.abs((degrees - rng.uniform(0, 360) + 180) % 360 - 180)
        radius = radius + rng.uniform(0.06, 0.22) * np.exp(-apart / rng.uniform(7, 16))
    return np.clip(radius, 0.45, 1.7)


def _place(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    radius: FloatMap,
    share: float,
    widths_to_heights: Range,
    edge_softness: float,
) -> tuple[Mask, FloatMap]:
    """The curve `radius` at a random place within the image, turned a little, covering `share` of it.

    Returns:
        Its inside (H, W) and the distance from its edge (H, W) in edge softnesses, positive inside.
    """
    height, width = shape
    stretch = np.sqrt(rng.uniform(*widths_to_heights))
    turn = np.deg2rad(rng.normal(0, 12))
    cos, sin = np.cos(turn), np.sin(turn)
    angle = np.deg2rad(np.arange(360.0))
    along, across = radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch
    x, y = cos * along - sin * across, sin * along + cos * across
    size = np.sqrt(share * height * width / (np.pi * np.mean(radius**2)))  # the curve encloses pi * mean(r^2)
    size = min(size, 0.94 * width / np.ptp(x), 0.82 * height / np.ptp(y))
    left = rng.uniform(0.02 * width, 0.98 * width - size * np.ptp(x)) - size * x.min()
    top_room = 0.93 * height - size * np.ptp(y) - 0.07 * height
    top = 0.07 * height + top_room * rng.beta(1.4, 2.4) - size * y.min()  # most lesions are in the upper half
    rows, columns = np.mgrid[0.0:height, 0.0:width]
    dx, dy = (columns - left) / size, (rows - top) / size
    u, v = (cos * dx + sin * dy) / stretch, (cos * dy - sin * dx) * stretch
    degree = np.rad2deg(np.arctan2(v, u)) % 360
    reach = np.interp(degree, np.arange(361.0), np.append(radius, radius[0])) - np.hypot(u, v)
    inside = reach > 0
    pieces, count = ndimage.label(inside, EIGHT_NEIGHBOURS)
    if count > 1:  # tips of outgrowths thinner than a pixel
        inside = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return inside, reach * size / (edge_softness * height)


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], down: float, across: float) -> FloatMap:
    """A random field (H, W) of mean 0 and variance 1 that changes over `down` and `across` pixels."""
    rows, columns = _bumps(shape[0], down), _bumps(shape[1], across)
    field: FloatMap = rows @ rng.standard_normal((rows.shape[1], columns.shape[1])) @ columns.T
    return field


def _bumps(length: int, spacing: float) -> FloatMap:
    """Gaussian bumps (length, count) `spacing` pixels apart, of unit norm in every row."""
    spacing = max(spacing, 1.0)
    centres = np.arange(-2.0, length / spacing + 3.0) * spacing
    bumps = np.exp(-0.5 * ((np.arange(length)[:, None] - centres) / (0.75 * spacing)) ** 2)
    unit: FloatMap = bumps / np.linalg.norm(bumps, axis=1, keepdims=True)
    return unit


def _flowing(field: FloatMap, flow: FloatMap) -> FloatMap:
    """`field` read along the bent coordinates `flow` (2, H, W)."""
    bent: FloatMap = ndimage.map_coordinates(field, flow, order=1, mode="reflect")
    return bent
