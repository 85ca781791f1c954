"""Segmentation from Python: `taichinet.segment("x.png")`, or `model = taichinet.load(...)` for many images."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from taichinet import runner
from taichinet.datasets.image_io import read_by, read_rgb
from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.inference.hub import download, is_repository
from taichinet.inference.hub import push_to_hub as push_folder_to_hub
from taichinet.inference.predictor import MaskPrediction, Predictor
from taichinet.inference.shipped import SHIPPED
from taichinet.models.training_images import LISTS
from taichinet.models.weights_folder import LoadedWeights, copy_weights
from taichinet.training.device_choice import AUTO_DEVICE, choose_device, chosen_name

if TYPE_CHECKING:
    from taichinet.evaluation.decision import Decision

ImageLike = str | PathLike[str] | Image.Image | NDArray[np.uint8]
"""An image file, a PIL image, or pixels: uint8 (H, W) grey or (H, W, 3) RGB."""


@dataclass(frozen=True, repr=False)
class Segmenter:
    """Trained weights that are ready to segment images; see `load`.

    Attributes:
        predictor: Network, preprocessing and decision.
        weights: The weights; several for a study, whose networks are averaged.
        path: The folder that was loaded.
        choices: How the weights are used.
    """

    predictor: Predictor
    weights: tuple[LoadedWeights, ...]
    path: Path
    choices: PredictorChoices

    def __repr__(self) -> str:
        config, runtime = self.weights[0].config, self.predictor.runtime.description
        networks = "" if len(self.weights) == 1 else f", {len(self.weights)} networks"
        return f"<Segmenter {self.path}: {config.model}{networks}, input {config.size} px, {runtime}>"

    @property
    def decision(self) -> Decision:
        """How the mask follows from the probability (threshold, smallest component, presence threshold)."""
        return self.predictor.decision

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Recipe, data set, folds and commit of the (first) weights, without the lists of training images."""
        return {name: value for name, value in self.weights[0].config.provenance.items() if name not in LISTS}

    def predict(self, image: ImageLike, spacing: float | tuple[float, float] | None = None) -> MaskPrediction:
        """Segment one image.

        Args:
            image: A file, a PIL image, or pixels: uint8 (H, W) grey or (H, W, 3) RGB, of any size.
            spacing: Size of a pixel in mm, or (height, width); for areas and diameters in mm.

        Returns:
            The prediction at the resolution of the image.

        Raises:
            DataError: The image cannot be read, or has another type or shape.
            SettingError: The spacing is not positive.
        """
        return next(self.predict_many([image], spacing))

    def predict_many(
        self, images: Iterable[ImageLike], spacing: float | tuple[float, float] | None = None, batch_size: int = 8
    ) -> Iterator[MaskPrediction]:
        """Segment several images, lazily and in batches; arguments and errors as in `predict`.

        Args:
            images: Images as in `predict`, also mixed.
            spacing: Size of a pixel of all images in mm.
            batch_size: Number of images that are read and processed together.

        Yields:
            One prediction per image, in order.
        """
        if isinstance(images, str | PathLike):
            raise DataError(
                f"predict_many takes several images, not one path. For a folder: Path({str(images)!r}).glob('*.png')."
            )
        mm, given = _spacing(spacing), deque[tuple[str, NDArray[np.uint8]]]()

        def remembered() -> Iterator[NDArray[np.uint8]]:
            for image in images:
                given.append((_name(image), as_pixels(image)))
                yield given[-1][1]

        for result in self.predictor.predict_many(remembered(), batch_size):
            name, pixels = given.popleft()
            yield replace(result, name=name, pixels=pixels, spacing=mm)

    def save(self, folder: str | Path) -> Path:
        """Copy the weights with all files of their folder, such as the model card and graphs, to another folder.

        Args:
            folder: The new folder; it must be absent or empty.

        Returns:
            `folder`.

        Raises:
            WeightsError: There are several networks, or the folder is not empty.
            StorageError: A file cannot be written.
        """
        return copy_weights(self._only_folder("be saved in one folder"), Path(folder))

    def push_to_hub(
        self, repository: str, private: bool = True, revision: str | None = None, token: str | bool | None = None
    ) -> str:
        """Upload the weights with their model card to the Hugging Face Hub; see `taichinet.push_to_hub`."""
        return push_folder_to_hub(self._only_folder("be uploaded"), repository, private, revision, token)

    def _only_folder(self, purpose: str) -> Path:
        folder = self.weights[0].folder
        if len(self.weights) > 1 or folder is None:
            raise WeightsError(
                f"{self.path} has {len(self.weights)} networks, which cannot {purpose}. Load one of them, or train one "
                "on all images: taichinet train --all-images."
            )
        return folder


def load(
    weights: str | Path = SHIPPED,
    threshold: float | None = None,
    presence_decision: bool = True,
    runtime: str = "auto",
    mirror: bool = False,
    device: str = AUTO_DEVICE,
    trust_code: bool = False,
) -> Segmenter:
    """Load trained weights.

    Args:
        weights: "best-lite", the weights in the package; a weights folder; a run folder; or that of a
            cross-validation, whose networks are averaged.
        threshold: Probability threshold of the mask; None for that of the weights.
        presence_decision: Whether images whose presence score is too low get an empty mask.
        runtime: "auto", or the name of a runtime: eager, tuned, tuned-bf16, onnx, openvino.
        mirror: Whether to average with the prediction for the mirror image, at twice the time.
        device: auto, cpu, cuda, cuda:N or mps.
        trust_code: Whether the code of networks from outside the package, which is in the folder, may be executed.

    Returns:
        The model, whose `predict(image)` segments an image.

    Raises:
        WeightsError: There are no weights, or they cannot be used.
        SettingError: A choice is not valid.
    """
    choices = PredictorChoices(
        threshold=threshold,
        presence_decision=presence_decision,
        runtime=runtime,
        mirror=mirror,
        trust_code=trust_code,
    )
    with _device(runtime, device):
        predictor, members = open_predictor(Path(weights), choices)
    return Segmenter(predictor, members, Path(weights), choices)


def from_pretrained(
    path_or_repository: str | Path,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    **choices: Any,
) -> Segmenter:
    """Load weights from a folder, or from the Hugging Face Hub (extra `hub`).

    Args:
        path_or_repository: A folder, as in `load`, or "organisation/name" on the hub. An existing folder is preferred.
        revision: Branch, tag or commit on the hub; None for the main branch.
        local_files_only: Whether to use what was downloaded before, without a connection.
        token: Access token of the hub; None for that of `hf auth login`.
        choices: Arguments of `load`, such as threshold and device.

    Returns:
        The model.

    Raises:
        WeightsError: There are no such weights, or the hub cannot be reached.
        SettingError: huggingface_hub is not installed, a revision is given for a folder, or a choice is not valid.
    """
    path = Path(path_or_repository)
    if path.exists() or not is_repository(str(path_or_repository)):
        if revision is not None:
            raise SettingError(f"{path} is a folder on this machine, which has no revision. Leave out revision.")
        return load(path, **choices)
    return load(download(str(path_or_repository), revision, local_files_only, token), **choices)


def segment(image: ImageLike, spacing: float | tuple[float, float] | None = None) -> MaskPrediction:
    """Segment one image with the weights in the package, which are loaded once; see `Segmenter.predict`."""
    return _shipped().predict(image, spacing)


@lru_cache(maxsize=1)
def _shipped() -> Segmenter:
    return load()


def as_pixels(image: ImageLike) -> NDArray[np.uint8]:
    """The pixels of an image: uint8 (H, W) or (H, W, 3).

    Raises:
        DataError: The file cannot be read, or the array or object is not an image.
    """
    if isinstance(image, str | PathLike):
        pixels = read_rgb(Path(image))
        grey = (pixels[..., :1] == pixels).all()
        return np.ascontiguousarray(pixels[..., 0]) if grey else pixels
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        return np.array(read_by(lambda source: runner.opaque(source, upright, False), Path("the PIL image")))
    if not isinstance(image, np.ndarray):
        raise DataError(f"An image must be a path, a PIL image or a NumPy array, not {type(image).__name__}.")
    if image.dtype != np.uint8:
        raise DataError(
            f"An image array must be uint8 with values from 0 to 255, not {image.dtype}. For values from 0 to 1, pass "
            "(255 * image).round().astype('uint8')."
        )
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise DataError(
            f"An image array must have shape (height, width) or (height, width, 3), not {image.shape}. Pass one image, "
            "with the channels last; predict_many takes several."
        )
    return image


def _name(image: ImageLike) -> str:
    path = getattr(image, "filename", "") if isinstance(image, Image.Image) else image
    return (Path(path).stem if isinstance(path, str | PathLike) else "") or "image"


def _spacing(spacing: float | tuple[float, float] | None) -> tuple[float, float] | None:
    if spacing is None:
        return None
    try:
        height, width = (float(length) for length in np.broadcast_to(np.asarray(spacing, dtype=np.float64), 2))
    except (TypeError, ValueError):  # not numbers, or more than two
        height = width = math.nan
    if not (0 < height < math.inf and 0 < width < math.inf):
        raise SettingError(f"spacing is {spacing}; give the size of a pixel in mm, or (height, width), above 0.")
    return height, width


@contextmanager
def _device(runtime: str, device: str) -> Iterator[None]:
    """Choose a device for the weights that are loaded in the block only."""
    from taichinet.inference.runtimes.choose import device_of_runtime

    before, wanted = chosen_name(), device_of_runtime(runtime, device)
    if wanted == AUTO_DEVICE:
        yield
        return
    from taichinet.training.device import use_device

    use_device(wanted)
    try:
        yield
    finally:
        choose_device(before)
