"""Evaluate trained weights on a data set, and write scores.csv and summary.json."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from torch import nn

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.duplicates.known_images import ImageDigests, LeakCheck, check_leaks, read_seen_thumbnails
from taichinet.datasets.joint import join_manifests
from taichinet.datasets.manifest import ImageCounts, Manifest
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.errors import FoldError, WeightsError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.evaluation.confidence import ConfidenceKeeper
from taichinet.evaluation.decision import Decision, stored_decision
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.experiments.records import (
    SCORES_FILE,
    SUMMARY_FILE,
    CalibrationRecord,
    EvaluationRecord,
    ImageCountsRecord,
    NetworkRecord,
    ShiftScores,
    write_record,
    write_scores,
)
from taichinet.experiments.scoring import score_images
from taichinet.experiments.study_data import DataSpec, list_specs
from taichinet.models.mirrored import Mirrored
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import WEIGHTS_FILE, LoadedWeights, find_weights
from taichinet.storage.digest import digest_file
from taichinet.storage.output_folder import output_files
from taichinet.training.device import DeviceConfig, choose_device_config

Source = DataSpec | Manifest
"""Data sets by path or NAME=PATH, or a data set that was read."""
ORIGIN = ("recipe", "dataset", "dataset_digest", "include_normal", "protocol", "fold", "commit")


def open_joined(data: Sequence[Path | str], include_normal: bool) -> Manifest:
    """Read a data set, or join several; raises as `open_dataset` and `join_manifests`."""
    manifests = [open_dataset(spec, include_normal=include_normal) for spec in data]
    return manifests[0] if len(manifests) == 1 else join_manifests(manifests)


@dataclass(frozen=True)
class ScoredNetwork:
    """One network of an evaluation.

    Attributes:
        folder: The weights folder.
        loaded: The weights.
        manifest: The data set.
        keys: Keys of the scored images.
        confidences: Confidences of the outermost region.
        check: How the images were compared with the training images.
        mirrored: Whether probabilities are averaged with those of the mirror image.
    """

    folder: Path
    loaded: LoadedWeights
    manifest: Manifest
    keys: tuple[str, ...]
    confidences: ConfidenceKeeper
    check: LeakCheck
    mirrored: bool = False

    def network(self) -> nn.Module:
        """The network on its device."""
        network = self.device_config.place(self.loaded.network)
        return Mirrored(network) if self.mirrored else network

    def data(self) -> Prepared:
        """The scored images at the input resolution of the network."""
        config = self.loaded.config
        return prepare(self.manifest.subset(set(self.keys)), config.size, self.loaded.channels)

    @property
    def device_config(self) -> DeviceConfig:
        """Device, and the precision of the training."""
        return choose_device_config(self.loaded.config.provenance.get("precision", "auto"))

    @property
    def decision(self) -> Decision:
        """The decision of the weights; raises WeightsError if it is not valid."""
        return stored_decision(self.loaded.config.decision, self.loaded.config.threshold, self.loaded.name)


@dataclass(frozen=True)
class Evaluation:
    """Scores of trained weights on a data set.

    Attributes:
        scores: One row per image and region: `key`, `dice` and the other scores.
        summary: Means and standard deviations.
        note: Which images were scored.
        networks: The networks that were scored.
        seconds: Duration including reading.
    """

    scores: pd.DataFrame
    summary: Summary
    note: str
    networks: tuple[ScoredNetwork, ...]
    seconds: float

    @property
    def counts(self) -> ImageCounts:
        """Number of images that were scored, have an empty mask, and were skipped."""
        lesion_pixels = self.scores.groupby("key")["true_pixels"].max()
        manifest = self.networks[0].manifest
        counts = manifest.count_images(int((lesion_pixels == 0).sum()))
        return replace(counts, used=len(lesion_pixels), trained_on=len(manifest.samples) - len(lesion_pixels))


def evaluate_weights(
    path: Path, data: Source, normal: bool | None = None, mirrored: bool = False, trust_code: bool = False
) -> Evaluation:
    """Evaluate weights on a data set, or on several together, whose summary then has scores of each.

    Images that were used in the training or selection of a network are found by their bytes and, if recorded, by their
    decoded pixels, and are excluded. Near-duplicates of these are excluded too if the run folder has the thumbnails of
    the training; on the data set of the training they are scored, as its folds decide.

    On its own data set, each network is scored on its test fold. On another, each network is scored on all images and
    counts as a fold, as in the second half of Table V.

    Args:
        path: A study, run folder or weights folder.
        data: A path, or NAME=PATH; several are joined. Or a data set that was read.
        normal: Whether to include normal images; None for as in the training.
        mirrored: Whether to average with the mirror image.
        trust_code: Whether the code of networks from outside the package may be executed, see `load_weights`.

    Returns:
        The evaluation.

    Raises:
        FoldError: No image is left, or the test folds of several networks overlap.
        WeightsError: The weights cannot be read, or have another number of regions.
    """
    began = time.perf_counter()
    folders = find_weights(path)
    frames, notes, networks, foreign = [], [], [], list[bool]()
    opened: dict[bool, ImageDigests] = {}
    for folder in folders:
        loaded = load_weights(folder, trust_code)
        origin = loaded.config.provenance
        with_normal = bool(origin.get("include_normal", False)) if normal is None else normal
        if with_normal not in opened:
            opened[with_normal] = ImageDigests(_opened(data, with_normal))
        manifest = opened[with_normal].manifest
        _refuse_other_regions(folder, loaded, manifest)
        check = check_leaks(origin, opened[with_normal], read_seen_thumbnails(origin, folder.parent))
        digests = (manifest.digest(), manifest.without_normal().digest()) if check.near else ()
        own = origin.get("dataset_digest") in digests
        excluded = check.known if own else check.known | check.near
        unseen = [key for key in manifest.keys if key not in excluded]
        fold = int(origin.get("fold") or 0)  # None for a network that was trained on all images
        foreign.append((check.by_files or check.by_pixels) and not check.known)
        if foreign[-1] and len(folders) == 1:
            fold = 0
        notes.append(_note(check, own, fold, len(unseen)))
        if not unseen:
            raise _nothing_left(manifest.name, loaded.name)
        kept = ConfidenceKeeper(manifest.regions[0])
        networks.append(ScoredNetwork(folder, loaded, manifest, tuple(unseen), kept, check, mirrored))
        frames.append(_score(networks[-1], fold))
    scores = pd.concat(frames, ignore_index=True)
    if not all(foreign):
        _refuse_common_images(scores, folders, path, manifest.name)
    summary = aggregate(scores, repeated=all(foreign))
    by_each = f", by each of {len(folders)} networks" if all(foreign) and len(folders) > 1 else ""
    note = f"Scored {'; '.join(dict.fromkeys(notes))}{by_each}."
    return Evaluation(scores, summary, note, tuple(networks), time.perf_counter() - began)


def _opened(data: Source, with_normal: bool) -> Manifest:
    if not isinstance(data, Manifest):
        return open_joined(list_specs(data), with_normal)
    return data if with_normal else data.without_normal()


def _refuse_common_images(scores: pd.DataFrame, folders: Sequence[Path], path: Path, data: str) -> None:
    if bool(scores.duplicated(["key", "region"]).any()):
        raise FoldError(
            f"Test folds of the {len(folders)} networks in {path} have images of {data} in common, so they cannot be "
            f"averaged over folds. Choose one network, e.g. {folders[0]}."
        )


def _refuse_other_regions(folder: Path, loaded: LoadedWeights, manifest: Manifest) -> None:
    regions = int(loaded.config.options.get("num_classes", 1))
    if regions != len(manifest.regions):
        raise WeightsError(
            f"The weights in {folder} have {regions} region(s), but {manifest.name} has {len(manifest.regions)} "
            f"({', '.join(manifest.regions)}). Use a data set with the same number of regions."
        )


def _nothing_left(data: str, weights: str) -> FoldError:
    return FoldError(
        f"All images of {data} were used in the training of {weights}. No image is left. Give other images, or the "
        "weights of a training without them."
    )


def _note(check: LeakCheck, own: bool, fold: int, images: int) -> str:
    """Sentence on which images were scored, and how they were compared with the training images."""
    if check.near:
        of = ", which are scored: the training's folds put them there" if own else " and left out"
        return f"fold {fold}: the {images} images that are not training images ({check.done}{of})"
    if check.known:
        return f"fold {fold}: the {images} images that are not training images ({check.done})"
    if check.by_pixels:
        return f"all {images} images, none of them with the pixels of a training image ({check.done})"
    return f"all {images} images ({check.done})"


def _score(scored: ScoredNetwork, fold: int) -> pd.DataFrame:
    network, data, kept = scored.network(), scored.data(), scored.confidences
    return score_images(network, scored.manifest, data, fold, scored.device_config, scored.decision, kept).rows


def write_evaluation(evaluation: Evaluation, folder: Path, shifts: Sequence[ShiftScores] = ()) -> None:
    """Write scores.csv and summary.json to `folder`, replacing those of an earlier evaluation; raises StorageError."""
    manifest = evaluation.networks[0].manifest
    with output_files(folder) as temporary:
        record = EvaluationRecord(
            dataset=manifest.name,
            dataset_digest=manifest.digest(),
            note=evaluation.note,
            left_out=manifest.left_out,
            images=ImageCountsRecord.model_validate(evaluation.counts.to_json_dict()),
            networks=tuple(_network(scored) for scored in evaluation.networks),
            wall_seconds=round(evaluation.seconds, 1),
            commit=source_commit(),
            machine=describe_machine(),
            summary=evaluation.summary,
            scores=write_scores(temporary / SCORES_FILE, evaluation.scores.round(6)),
            mirrored=evaluation.networks[0].mirrored,
            shifts=tuple(shifts),
        )
        write_record(temporary / SUMMARY_FILE, record)


def _network(scored: ScoredNetwork) -> NetworkRecord:
    """Origin of a network, number of scored images, and calibration."""
    config = scored.loaded.config
    return NetworkRecord(
        model=config.model,
        options=config.options,
        size=config.size,
        threshold=scored.decision.threshold,
        decision=config.decision,
        trained={name: config.provenance[name] for name in ORIGIN if name in config.provenance},
        weights_sha256=digest_file(scored.folder / WEIGHTS_FILE),
        placement=scored.device_config.describe(),
        images=len(scored.keys),
        compared_with_training=scored.check.done,
        near_duplicates=tuple(sorted(scored.check.near)) if scored.check.by_thumbnails else "not checked",
        calibration=CalibrationRecord.of(scored.confidences),
    )
