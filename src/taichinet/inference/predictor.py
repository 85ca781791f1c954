"""Predictor: lesion mask, probability and disagreement of the two paths, at the original resolution of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taichinet.datasets.image_io import resize_image
from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.evaluation.decision import Decision, stored_decision
from taichinet.evaluation.masks import count_components, resize_probability
from taichinet.inference import measurements
from taichinet.inference.runtimes.runtime import LaunchingRuntime, Maps, PendingMaps, Runtime, Segmentation
from taichinet.models.settings import SIZE_MULTIPLE
from taichinet.models.weights_folder import LoadedWeights

if TYPE_CHECKING:  # not at run time: with a graph file, torch is not needed
    from taichinet.training.device import DeviceConfig


@dataclass(frozen=True)
class BoundingBox:
    """Bounding box of the whole mask in pixels: rows top to bottom - 1, columns left to right - 1."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class MaskPrediction:
    """Prediction for one image of H x W pixels.

    Attributes:
        mask: The mask of the decision of the weights, bool (H, W). Without one: pixels where the probability exceeds
            the threshold.
        probability: Probability of lesion after temperature, float32 (H, W) in [0, 1].
        disagreement: `|O_p - (1 - O_n)|`, the difference of the lesion probabilities of both paths, float32 (H, W)
            in [0, 1]. None for one-path networks.
        lesion_pixels: Area of the mask in pixels.
        area_share: Area of the mask as a fraction of the image.
        components: Number of connected components of the mask (8-neighbourhood).
        bounding_box: Bounding box of the whole mask; None for an empty mask.
        max_probability: Maximum of the probability.
        mean_disagreement: Mean of the disagreement; None for one-path networks.
        presence: Presence score, see `Decision.presence_score`; the mask is empty if it is below that of the decision.
        name: Name for files: that of the image file without its ending; "image" for other images.
        pixels: The image, uint8 (H, W) or (H, W, 3), for the overlay; None if it was not kept.
        spacing: Height and width of a pixel in mm; None if not given.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    probability: NDArray[np.float32] = field(repr=False)
    disagreement: NDArray[np.float32] | None = field(repr=False)
    lesion_pixels: int
    area_share: float
    components: int
    bounding_box: BoundingBox | None
    max_probability: float
    mean_disagreement: float | None
    presence: float
    name: str = "image"
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    spacing: tuple[float, float] | None = None

    @cached_property
    def entropy(self) -> NDArray[np.float32]:
        """Entropy of the probability of each pixel in bits, float32 (H, W) in [0, 1], which is 1 where it is 0.5."""
        return measurements.entropy(self.probability)

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """The disagreement of the two paths if the network has two, otherwise the entropy; see `uncertainty_name`.

        float32 (H, W) in [0, 1]. Both show where the network contradicts itself or hesitates. Neither is a probability
        of error: a network can be wrong where it is low.
        """
        return self.entropy if self.disagreement is None else self.disagreement

    @property
    def uncertainty_name(self) -> str:
        """What `uncertainty` is: "disagreement of the two paths" or "entropy of the probability"."""
        return "entropy of the probability" if self.disagreement is None else "disagreement of the two paths"

    def measurements(self) -> dict[str, Any]:
        """All measurements as plain numbers, for tables and JSON.

        Returns:
            The numbers of this object, `mean_entropy` in bits, and, if `spacing` is given, `area_mm2`, the longest
            diameter `diameter_mm` of the largest component and its extent perpendicular to it, `perpendicular_mm`
            (None for an empty mask). `bounding_box` is a dictionary, or None for an empty mask.
        """
        box = self.bounding_box
        values: dict[str, Any] = {
            "height": self.mask.shape[0],
            "width": self.mask.shape[1],
            "lesion_pixels": self.lesion_pixels,
            "area_share": self.area_share,
            "components": self.components,
            "bounding_box": None if box is None else asdict(box),
            "max_probability": self.max_probability,
            "presence": self.presence,
            "mean_disagreement": self.mean_disagreement,
            "mean_entropy": float(self.entropy.mean(dtype=np.float64)),
        }
        if self.spacing is not None:
            lengths = measurements.diameters(self.mask, self.spacing)
            values["area_mm2"] = self.lesion_pixels * self.spacing[0] * self.spacing[1]
            values["diameter_mm"], values["perpendicular_mm"] = lengths or (None, None)
        return values

    def overlay(self) -> Image.Image:
        """The image with the contour of the mask (cyan) and its bounding box (yellow), RGB.

        Raises:
            DataError: The image was not kept.
        """
        if self.pixels is None:
            raise DataError("This prediction has no image to draw on. Predict with the model of taichinet.load().")
        from taichinet.inference.overlay import overlay

        box = self.bounding_box
        return overlay(self.pixels, self.mask, None if box is None else (box.top, box.left, box.bottom, box.right))

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the maps as 8-bit PNG files, in which 255 is 1, the overlay, and the measurements as JSON.

        Args:
            folder: The folder; it is created. Files of an earlier `save` with the same name are replaced.

        Returns:
            The files NAME_mask.png, NAME_probability.png, NAME_disagreement.png for networks with two paths,
            NAME_overlay.png if the image was kept, and NAME.json.

        Raises:
            StorageError: A file cannot be written, or exists and is not as taichinet wrote it.
        """
        from taichinet.inference.outputs import write_prediction

        return write_prediction(self, Path(folder))


@dataclass(frozen=True)
class NetworkInput:
    """An image at the input resolution of the network, uint8 (C, S, S), and its original (height, width)."""

    pixels: NDArray[np.uint8]
    original_size: tuple[int, int]


@dataclass(frozen=True)
class _Ready:
    """Maps that are computed."""

    computed: Maps

    def done(self) -> bool:
        return True

    def maps(self) -> Maps:
        return self.computed


class Predictor:
    """A trained network in a runtime, with the preprocessing of its training."""

    def __init__(
        self,
        weights: LoadedWeights,
        device_config: DeviceConfig | None,
        threshold: float | None = None,
        runtime: Runtime | None = None,
        presence_decision: bool = True,
    ) -> None:
        """Check the weights and set up the runtime.

        Args:
            weights: Network and configuration.
            device_config: Device of the runtime; if `runtime` is None, also precision and memory layout of the network.
                None: a `runtime` on the CPU.
            threshold: Probability threshold of the mask in [0, 1]. By default, that of the weights.
            runtime: Runtime of the network, see `runtimes/choose.py`. None: plain PyTorch; the network of `weights` is
                moved to `device_config`.
            presence_decision: Whether images whose presence score is below that of the weights get an empty mask.

        Raises:
            WeightsError: The input resolution, number of channels or number of regions is not supported, or the
                decision of the weights is not valid.
            SettingError: The threshold is out of range.
        """
        size, regions = weights.config.size, weights.config.options.get("num_classes", 1)
        if not isinstance(size, int) or size <= 0 or size % SIZE_MULTIPLE:
            raise WeightsError(
                f"The input size of the weights is {size!r}, but must be a positive multiple of {SIZE_MULTIPLE}. "
                "Their config.json was changed: copy or train the weights again."
            )
        if weights.channels not in (1, 3) or regions != 1:
            raise WeightsError(
                f"The weights are of a network with {weights.channels} input channels and {regions} regions. "
                "The predictor supports grey (1) or RGB (3) images and one region: use other weights."
            )
        if threshold is not None and not 0 <= threshold <= 1:
            raise SettingError(f"The threshold is {threshold}, but must be a probability from 0 to 1.")
        decision = stored_decision(weights.config.decision, weights.config.threshold, weights.name)
        changes: dict[str, float] = {} if threshold is None else {"threshold": threshold}
        self.decision = decision.model_copy(update=changes if presence_decision else {**changes, "presence": 0.0})
        self.size = size
        self.channels = weights.channels
        self.device = _device_name(device_config)
        self._weights = weights.name
        self.runtime: Runtime = runtime or _plain_pytorch(weights, device_config)

    def predict(self, pixels: NDArray[np.uint8]) -> MaskPrediction:
        """Segment one image.

        Args:
            pixels: uint8, (H, W) grey or (H, W, 3) RGB, of any size.

        Returns:
            The prediction at the resolution of the image.

        Raises:
            DataError: The image has another type or shape, or the output of the network is not finite.
        """
        return next(self.predict_many([pixels]))

    def segment(self, pixels: NDArray[np.uint8]) -> Segmentation:
        """Mask and probability of one image, as `predict`."""
        result = self.predict(pixels)
        return result.mask, result.probability

    def predict_many(self, images: Iterable[NDArray[np.uint8]], batch_size: int = 8) -> Iterator[MaskPrediction]:
        """Segment several images, lazily and in batches.

        Args:
            images: Images as in `predict`. Sizes, grey and RGB may be mixed.
            batch_size: Number of images that are read and processed together.

        Yields:
            One prediction per image, in order.

        Raises:
            SettingError: `batch_size` is below 1.
            DataError: As in `predict`, with the index of the image.
        """
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}; it must be at least 1.")
        remaining = iter(images)
        number = 0
        while chunk := [self.prepare(pixels) for pixels in islice(remaining, batch_size)]:
            try:
                maps = self.network_maps(chunk)
                for i, image in enumerate(chunk):
                    yield self.at_original_size(maps, i, image)
                    number += 1
            except DataError as fault:
                raise DataError(f"Image {number} of those given (from 0): {fault}") from fault

    def prepare(self, pixels: NDArray[np.uint8]) -> NetworkInput:
        """Resize an image to the input resolution of the network, as in training. Thread-safe.

        Args:
            pixels: uint8, (H, W) or (H, W, 3).

        Returns:
            The resized image with the channels of the network, and its original size.

        Raises:
            DataError: The image has another type or shape.
        """
        valid_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
        if pixels.dtype != np.uint8 or not valid_shape or not pixels.size:
            raise DataError(
                "An image must be uint8, (height, width) or (height, width, 3), got "
                f"{pixels.dtype} {pixels.shape}. Read it with read_grey or read_rgb, which convert every mode."
            )
        converted = Image.fromarray(pixels).convert("L" if self.channels == 1 else "RGB")
        resized = resize_image(np.asarray(converted), self.size)
        planes = resized[None] if self.channels == 1 else resized.transpose(2, 0, 1)
        height, width = pixels.shape[:2]
        return NetworkInput(np.array(planes), (height, width))

    def network_maps(self, inputs: Sequence[NetworkInput]) -> Maps:
        """Output of the network for a batch of `inputs`, at its input resolution."""
        return self.runtime.maps(np.stack([image.pixels for image in inputs]))

    def launch(self, inputs: Sequence[NetworkInput]) -> PendingMaps:
        """Start `network_maps` without waiting for a GPU; on other devices it is complete afterwards."""
        if self.device.startswith("cuda") and isinstance(self.runtime, LaunchingRuntime):
            return self.runtime.launch(np.stack([image.pixels for image in inputs]))
        return _Ready(self.network_maps(inputs))

    def at_original_size(self, maps: Maps, index: int, image: NetworkInput) -> MaskPrediction:
        """Resize the maps of image `index` of a batch to its original resolution and measure them. Thread-safe.

        Raises:
            DataError: A value of the maps is NaN or infinite. Such a map would appear as an empty mask.
        """
        for values in (maps.lesion, maps.disagreement):
            if values is not None and not np.isfinite(values[index]).all():
                raise DataError(
                    f"the prediction of the weights {self._weights} ({self.runtime.description}) for this image is not "
                    "finite, so there is no mask. Use --runtime eager, or other weights."
                )
        size = image.original_size
        disagreement = None if maps.disagreement is None else resize_probability(maps.disagreement[index], size)
        score = self.decision.presence_score(maps.lesion[index])
        return _measured(resize_probability(maps.lesion[index], size), disagreement, self.decision, score)


def _device_name(device_config: DeviceConfig | None) -> str:
    if device_config is None:
        return "cpu"
    from taichinet.training.device import device_name

    return device_name(device_config.device)


def _plain_pytorch(weights: LoadedWeights, device_config: DeviceConfig | None) -> Runtime:
    from taichinet.inference.runtimes.eager import PLAIN, Eager

    return Eager(weights.network, device_config or PLAIN)


def _measured(
    raw: NDArray[np.float32], disagreement: NDArray[np.float32] | None, decision: Decision, score: float
) -> MaskPrediction:
    """Apply the decision to the probability before temperature (H, W), and compute all measurements of the mask."""
    mask, probability = decision.mask(raw, score), np.asarray(decision.calibrated(raw), dtype=np.float32)
    lesion_pixels = int(np.count_nonzero(mask))
    return MaskPrediction(
        mask=mask,
        probability=probability,
        disagreement=disagreement,
        lesion_pixels=lesion_pixels,
        area_share=lesion_pixels / mask.size,
        components=count_components(mask),
        bounding_box=_box_around(mask),
        max_probability=float(probability.max()),
        mean_disagreement=None if disagreement is None else float(disagreement.mean(dtype=np.float64)),
        presence=score,
    )


def _box_around(mask: NDArray[np.bool_]) -> BoundingBox | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return BoundingBox(top=int(rows[0]), left=int(columns[0]), bottom=int(rows[-1]) + 1, right=int(columns[-1]) + 1)
