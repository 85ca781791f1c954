"""Simulated B-mode breast ultrasound with known lesions.

Steps: tissue (dB per pixel), lesions and look-alikes, loss along the beam, speckle blurred by pulse and beam, envelope,
log compression. No data of patients are used; grey levels were set by eye and by histogram to resemble BUSI.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from taichinet.datasets.phantoms.anatomy import (
    LABELS,
    FloatMap,
    Label,
    Mask,
    add_lesion,
    add_look_alikes,
    draw_background_loss,
    draw_tissue,
)
from taichinet.errors import SettingError, unknown_name

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
