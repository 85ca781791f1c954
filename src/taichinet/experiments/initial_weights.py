"""Fine-tuning: trained weights that a training starts from, and the check that they have not seen its test images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from taichinet.datasets.duplicates.known_images import (
    SEEN_FILES,
    SEEN_PIXELS,
    ImageDigests,
    Seen,
    check_leaks,
    read_seen_thumbnails,
)
from taichinet.datasets.folds import Split
from taichinet.datasets.manifest import Manifest
from taichinet.errors import FoldError, WeightsError
from taichinet.models.weights import trained_tensors
from taichinet.models.weights_folder import WEIGHTS_FILE, WeightsConfig, find_weights, open_weights
from taichinet.storage.digest import digest_file
from taichinet.training.optimizer import ENCODER

LEAST_SHARE = 0.5  # of the tensors of the encoder that the weights must have
PROVENANCE = "initial_weights"  # in the provenance of weights: where the training started


@dataclass(frozen=True)
class InitialWeights:
    """Weights that a training starts from.

    Attributes:
        folders: The weights folder of one network, for all folds; or those of the folds of a study, each for its fold.
        study: The folder of the study; None for one network.
    """

    folders: tuple[Path, ...]
    study: Path | None = None

    @classmethod
    def find(cls, path: Path) -> InitialWeights:
        """The weights in `path`: a weights folder, a run folder, or a study; raises WeightsError."""
        folders = find_weights(path)
        return cls(folders, path if folders[0].parents[1] == path else None)

    @property
    def name(self) -> str:
        """What the setting `initial_weights` of a recipe records: the origin without paths of this machine."""
        config = open_weights(self.folders[0]).config
        origin = "/".join(
            str(config.provenance[key]) for key in ("dataset", "recipe", "protocol") if config.provenance.get(key)
        )
        if self.study is not None:
            return f"{origin or config.model}/fold-*"
        return f"{origin or config.model}@{digest_file(self.folders[0] / WEIGHTS_FILE)[:12]}"

    def of_fold(self, fold: int) -> Path:
        """The weights folder for a fold.

        Raises:
            WeightsError: The study has not completed this fold.
        """
        if self.study is None:
            return self.folders[0]
        for folder in self.folders:
            if folder.parent.name == f"fold-{fold}":
                return folder
        what = f"fold {fold}" if fold >= 0 else "a training on all images"
        names = ", ".join(folder.parent.name for folder in self.folders)
        raise WeightsError(
            f"The cross-validation {self.study} has no weights for {what}, only for {names}. Train that fold of it "
            "first, or give one weights folder."
        )


@dataclass(frozen=True)
class Loaded:
    """Result of loading initial weights.

    Attributes:
        tensors: Number of tensors that were loaded.
        of: Number of tensors of the network.
        config: Configuration of the weights.
    """

    tensors: int
    of: int
    config: WeightsConfig


def load_initial(network: nn.Module, folder: Path) -> Loaded:
    """Load the tensors of the weights in `folder` that the network has under the same name and with the same shape.

    The others keep their random initialisation, e.g. an output with another number of regions.

    Raises:
        WeightsError: The weights cannot be read, or have less than half of the encoder (of all tensors, in a network
            without modules named `encoder`).
    """
    config, given = open_weights(folder).config, trained_tensors(folder)
    own = network.state_dict()
    same = {name: given[name].to(value.dtype) for name, value in own.items() if _fits(given.get(name), value)}
    encoder = [name for name in own if ENCODER in name.split(".")] or list(own)
    found = sum(name in same for name in encoder)
    if found < LEAST_SHARE * len(encoder):
        raise WeightsError(
            f"The weights in {folder} are of '{config.model}' and have {found} of {len(encoder)} tensors of the "
            "encoder of this network, under the same names and with the same shapes. Train the recipe of the "
            f"weights, or set the options with which they were trained: {config.options}."
        )
    network.load_state_dict({**own, **same})
    return Loaded(len(same), len(own), config)


def _fits(given: Tensor | None, own: Tensor) -> bool:
    return given is not None and given.shape == own.shape


def refuse_seen_images(folder: Path, manifest: Manifest, dataset_digest: str, split: Split) -> str:
    """Refuse weights that have seen held-out images of a fold, which would make its scores too good.

    On the data set of their own training, the recorded keys decide. On another, the images are compared as by
    `taichinet evaluate`: by file content, decoded pixels and, if the thumbnails of the training are there, as
    near-duplicates.

    Args:
        folder: The weights folder.
        manifest: All images of the study.
        dataset_digest: Digest of the data set of the fold plan.
        split: Training, validation and test images of the fold.

    Returns:
        A warning for the user; empty if the check was made and found nothing.

    Raises:
        FoldError: Test images, or validation images as far as this is known, were used in the training of the weights.
    """
    origin = open_weights(folder).config.provenance
    if not (split.test or split.validation):
        return ""
    if origin.get("dataset_digest") == dataset_digest and "train_keys" in origin:
        learned, selected = set(origin["train_keys"]), set(origin.get("validation_keys", ()))
        _refuse(folder, (learned & {*split.validation, *split.test}) | (selected & {*split.test}))
        if PROVENANCE not in origin:
            return ""
    held_out = manifest.subset({*split.test, *split.validation})
    check = check_leaks(origin, ImageDigests(held_out), read_seen_thumbnails(origin, folder.parent))
    if not (check.by_files or check.by_pixels):
        return (
            f"The weights in {folder} do not record their training images: it cannot be checked whether they have seen "
            "test images, which would make the scores too good."
        )
    seen = check.known if origin.get("dataset_digest") == dataset_digest else check.known | check.near
    _refuse(folder, seen & {*split.test})
    if validation := seen & {*split.validation}:
        return (
            f"{len(validation)} validation images were used in the training or selection of the weights in {folder}: "
            "the validation Dice may be too good. The test scores are not affected."
        )
    return ""


def _refuse(folder: Path, seen: Iterable[str]) -> None:
    if names := sorted(seen):
        raise FoldError(
            f"{len(names)} held-out images of this fold were used in the training of the weights in {folder} "
            f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}), which would make the scores too good. Start "
            "from weights that were trained on other images; from a cross-validation with the same folds (--from "
            "RUNS/dataset/recipe/protocol), each fold starts from the same fold."
        )


def initial_provenance(loaded: Loaded, digest: str) -> dict[str, Any]:
    """What the weights of a fine-tuned network record about their start."""
    kept = ("recipe", "dataset", "dataset_digest", "protocol", "fold", "commit")
    origin = {key: loaded.config.provenance[key] for key in kept if key in loaded.config.provenance}
    return {"sha256": digest, "model": loaded.config.model, "tensors": loaded.tensors, "of": loaded.of, **origin}


def seen_by(folder: Path) -> Seen:
    """Digests and thumbnails of the images that the weights in `folder` have seen, as far as recorded."""
    origin = open_weights(folder).config.provenance
    digests = {name: origin[name] for name in (SEEN_FILES, SEEN_PIXELS) if isinstance(origin.get(name), list)}
    return digests, read_seen_thumbnails(origin, folder.parent)
