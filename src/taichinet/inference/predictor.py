"""Predictor: an image of any size in; at that size the lesion's mask and the paths' disagreement out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from taichinet.datasets.prepared import resize_image
from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.evaluation.resize import resize_probability
from taichinet.inference.runtimes.eager import Eager
from taichinet.inference.runtimes.runtime import Maps, Runtime
from taichinet.models.input_size import SIZE_MULTIPLE
from taichinet.models.weights import LoadedWeights
from taichinet.training.device import Placement

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


@dataclass(frozen=True)
class NetworkInput:
    """An image as the network takes it, uint8 (C, S, S), and the (height, width) that it came in."""

    pixels: NDArray[np.uint8]
    native_size: tuple[int, int]


class Predictor:
    """A trained network, ready in its runtime, with the preprocessing of its training."""

    def __init__(
        self,
        weights: LoadedWeights,
        placement: Placement,
        threshold: float | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """`threshold` in [0, 1] replaces that of the weights.

        `runtime` computes (`runtimes/choose.py` opens one); where None, the network of `weights` is moved to
        `placement` and called as it is.

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
        self._weights = weights.name
        self.runtime: Runtime = runtime or Eager(weights.network, placement)

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
        number = 0
        while chunk := [self.prepare(pixels) for pixels in islice(remaining, batch_size)]:
            try:
                for prediction in self.predict_batch(chunk):
                    yield prediction
                    number += 1
            except DataError as fault:
                raise DataError(f"Image {number} of those given (from 0): {fault}") from fault

    def prepare(self, pixels: NDArray[np.uint8]) -> NetworkInput:
        """Uint8 (H, W) or (H, W, 3) -> uint8 at network size, as the images of the training were resized.

        May be called in another thread than `predict_batch`.
        """
        right_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
        if pixels.dtype != np.uint8 or not right_shape or not pixels.size:
            raise DataError(
                "An image must be uint8, (height, width) or (height, width, 3), got "
                f"{pixels.dtype} {pixels.shape}. Read it with read_grey or read_rgb: they convert every mode."
            )
        wanted = Image.fromarray(pixels).convert("L" if self.channels == 1 else "RGB")
        resized = resize_image(np.asarray(wanted), self.size)
        planes = resized[None] if self.channels == 1 else resized.transpose(2, 0, 1)
        height, width = pixels.shape[:2]
        return NetworkInput(np.array(planes), (height, width))

    def predict_batch(self, inputs: Sequence[NetworkInput]) -> Iterator[MaskPrediction]:
        """A prediction for each of `inputs`, which pass the network together; each at its own size."""
        maps = self.network_maps(inputs)
        for i, image in enumerate(inputs):
            yield self.at_native_size(maps, i, image)

    def network_maps(self, inputs: Sequence[NetworkInput]) -> Maps:
        """What the network says of `inputs`, at network size."""
        return self.runtime.maps(np.stack([image.pixels for image in inputs]))

    def at_native_size(self, maps: Maps, index: int, image: NetworkInput) -> MaskPrediction:
        """The prediction of `image`, number `index` of `maps`. May be called in another thread than `network_maps`.

        Raises DataError where a value of the maps is NaN or infinite: such a map would read as an empty mask.
        """
        for values in (maps.lesion, maps.disagreement):
            if values is not None and not np.isfinite(values[index]).all():
                raise DataError(
                    f"the prediction of the weights {self._weights} ({self.runtime.description}) for this image is not "
                    "finite, so there is no mask. Use --runtime eager, or other weights."
                )
        disagreement = None if maps.disagreement is None else _native(maps.disagreement[index], image.native_size)
        return _measured(_native(maps.lesion[index], image.native_size), disagreement, self.threshold)


def _native(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return resize_probability(torch.from_numpy(values)[None, None], size)


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
