"""The views of a picture that matching compares: reduced, at the coarse search's size, or its fine detail alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.intp]

WORKING_SIDE = 128  # every picture is first reduced to the area of this square, its aspect ratio kept
SEARCH_SIDE = 26  # the coarse search sees the area of this square
SEARCH_BLUR = 3.3  # px; removing what is smoother stops "bright above, dark below" from matching everything


def reduce_area(image: NDArray[np.uint8], side: int) -> FloatArray:
    """`image` (H, W) area-averaged to about `side`² pixels, its aspect ratio kept."""
    height, width = image.shape
    scale = side / (height * width) ** 0.5
    return _resize(image.astype(np.float32), max(1, round(width * scale)), max(1, round(height * scale)))


def search_view(picture: FloatArray, magnification: float, least_side: int) -> FloatArray:
    """`picture` at the coarse search's size, its smooth part removed; no side below `least_side` pixels."""
    height, width = picture.shape
    scale = magnification * SEARCH_SIDE / WORKING_SIDE
    reduced = _resize(picture, max(least_side, round(width * scale)), max(least_side, round(height * scale)))
    view: FloatArray = reduced - gaussian_filter(reduced, SEARCH_BLUR)
    return view


def detail_views(pictures: Iterable[FloatArray], side: int, blur: float) -> Tensor:
    """Pictures squeezed to (N, side, side): fine detail of even contrast; shading and marks weigh little."""
    views = []
    for picture in pictures:
        squeezed = _resize(picture, side, side)
        band = gaussian_filter(squeezed, 0.7) - gaussian_filter(squeezed, blur)
        contrast = np.sqrt(gaussian_filter(band * band, 2 * blur))
        views.append(band / (contrast + 3))  # 3 grey levels: below that it is noise
    return torch.from_numpy(np.array(views, dtype=np.float32).reshape(-1, side, side))


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for thousands of small products: more gain little, and on busy cores they stall."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _resize(image: FloatArray, width: int, height: int) -> FloatArray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
