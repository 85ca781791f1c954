"""Predictor: an image of any size in; at that size the lesion's mask and the paths' disagreement out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from taichinet.batch import Batch
from taichinet.datasets.prepared import resize_image
from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.evaluation.resize import resize_probability
from taichinet.models.input_size import SIZE_MULTIPLE
from taichinet.models.weights import LoadedWeights
from taichinet.training.device import Placement
from taichinet.training.loop import predict_batches

_TOUCHING = np.ones((3, 3), dtype=np.bool_)  # pixels that meet at a corner belong to one component


@dataclass(frozen=True)
class BoundingBox:
    """The smallest rectangle around the whole mask, in pixels: rows top..bottom-1, columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class MaskPrediction:
    """What the network says of one image of H x W pixels, at that size.

    `mask` bool (H, W): where `probability`, float32 (H, W) in [0, 1], exceeds the threshold. `disagreement`
    float32 (H, W) in [0, 1]: |O_p - (1 - O_n)|, where the two paths contradict each other; None for one-path
    networks.

    `lesion_pixels`: area of the mask in pixels; `area_share`: the same as a share of the image, in [0, 1].
    `components`: connected parts of the mask (8-neighbourhood). `bounding_box`: around all of them, None for
    an empty mask. `max_probability` and `mean_disagreement` are over the whole image.
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    disagreement: NDArray[np.float32] | None
    lesion_pixels: int
    area_share: float
    components: int
    bounding_box: BoundingBox | None
    max_probability: float
    mean_disagreement: float | None


class Predictor:
    """A trained network, ready on its device, with the preprocessing of its training."""

    def __init__(self, weights: LoadedWeights, placement: Placement, threshold: float | None = None) -> None:
        """Move the network of `weights` to `placement`; `threshold` in [0, 1] replaces that of the weights.

        Raises WeightsError for weights that cannot be used on a single image and lesion, SettingError for a
        threshold out of range.
        """
        size, regions = weights.config.size, weights.config.options.get("num_classes", 1)
        if not isinstance(size, int) or size <= 0 or size % SIZE_MULTIPLE:
            raise WeightsError(
                f"The weights want images of size {size!r}, no positive multiple of {SIZE_MULTIPLE}. "
                "Their config.json was altered: copy or train the weights again."
            )
        if weights.channels not in (1, 3) or regions != 1:
            raise WeightsError(
                f"The weights are of a network with {weights.channels} input channels and {regions} regions. "
                "The predictor takes grey (1) or RGB (3) images and one region: use other weights."
            )
        self.threshold = weights.config.threshold if threshold is None else threshold
        if not 0 <= self.threshold <= 1:
            raise SettingError(f"The threshold is {self.threshold}, but probabilities lie in 0..1. Choose one between.")
        self.size = size
        self.channels = weights.channels
        self._placement = placement
        self._network = placement.place(weights.network)

    def predict(self, pixels: NDArray[np.uint8]) -> MaskPrediction:
        """The lesion in one image: uint8 (H, W) grey or (H, W, 3) RGB, of any size from 1 x 1."""
        return next(self.predict_many([pixels]))

    def predict_many(self, images: Iterable[NDArray[np.uint8]], batch_size: int = 8) -> Iterator[MaskPrediction]:
        """One prediction for each of `images`, in order; grey and RGB and all sizes may be mixed.

        Lazy: `batch_size` images at a time are drawn and pass the network together.
        """
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}; it must be at least 1.")
        remaining = iter(images)
        while chunk := [(self._prepare(pixels), pixels.shape[:2]) for pixels in islice(remaining, batch_size)]:
            yield from self._predict_chunk(
                torch.stack([prepared for prepared, _ in chunk]), [size for _, size in chunk]
            )

    def _prepare(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Uint8 (H, W) or (H, W, 3) -> float (channels, size, size) in [0, 1], as `Prepared.batch` does."""
        right_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
        if pixels.dtype != np.uint8 or not right_shape or not pixels.size:
            raise DataError(
                "An image must be uint8, (height, width) or (height, width, 3), got "
                f"{pixels.dtype} {pixels.shape}. Read it with read_grey or read_rgb: they convert every mode."
            )
        wanted = Image.fromarray(pixels).convert("L" if self.channels == 1 else "RGB")
        resized = torch.from_numpy(resize_image(np.asarray(wanted), self.size).copy())
        resized = resized[None] if self.channels == 1 else resized.permute(2, 0, 1)
        return resized.float() / 255

    def _predict_chunk(self, image: torch.Tensor, native_sizes: list[tuple[int, ...]]) -> Iterator[MaskPrediction]:
        """Predictions for `image` (B, C, size, size), each at its (height, width) of `native_sizes`."""
        batch = Batch(image=image, lesion=torch.zeros(len(image), 1, self.size, self.size))
        (prediction,) = predict_batches(self._network, [batch], self._placement)
        lesion, disagreement = prediction.lesion, prediction.disagreement
        for i, native_size in enumerate(native_sizes):
            yield _measured(
                resize_probability(lesion[i : i + 1], native_size),
                None if disagreement is None else resize_probability(disagreement[i : i + 1], native_size),
                self.threshold,
            )


def _measured(
    probability: NDArray[np.float32], disagreement: NDArray[np.float32] | None, threshold: float
) -> MaskPrediction:
    """The mask of `probability` (H, W) and every number that describes it."""
    mask = probability > threshold
    lesion_pixels = int(np.count_nonzero(mask))
    return MaskPrediction(
        mask=mask,
        probability=probability,
        disagreement=disagreement,
        lesion_pixels=lesion_pixels,
        area_share=lesion_pixels / mask.size,
        components=int(ndimage.label(mask, structure=_TOUCHING)[1]),
        bounding_box=_box_around(mask),
        max_probability=float(probability.max()),
        mean_disagreement=None if disagreement is None else float(disagreement.mean(dtype=np.float64)),
    )


def _box_around(mask: NDArray[np.bool_]) -> BoundingBox | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return BoundingBox(top=int(rows[0]), left=int(columns[0]), bottom=int(rows[-1]) + 1, right=int(columns[-1]) + 1)
