"""Evaluate trained weights on a data set, and write scores.csv and summary.json."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.duplicates.known_images import ImageDigests, LeakCheck, check_leaks, read_seen_thumbnails
from taichinet.datasets.manifest import ImageCounts, Manifest
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.errors import FoldError, WeightsError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.evaluation.calibration import pool
from taichinet.evaluation.confidence import ConfidenceKeeper
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.experiments.records import (
    SCORES_FILE,
    SUMMARY_FILE,
    CalibrationRecord,
    EvaluationRecord,
    ImageCountsRecord,
    NetworkRecord,
    SummaryRecord,
    write_record,
    write_scores,
)
from taichinet.experiments.scoring import score_images
from taichinet.models.weights import CONFIG_FILE, WEIGHTS_FILE, LoadedWeights, load_weights
from taichinet.storage.digest import digest_file
from taichinet.storage.output_folder import output_files
from taichinet.training.device import DeviceConfig, choose_device_config

ORIGIN = ("recipe", "dataset", "dataset_digest", "include_normal", "protocol", "fold", "commit")


@dataclass(frozen=True)
class ScoredNetwork:
    """One network of an evaluation: the weights of `folder`, and the images of `manifest` that it was scored on.

    `confidences` are those of the outermost region, measured in the same pass as the scores. `check` says how the
    images were compared with those of the training.
    """

    folder: Path
    loaded: LoadedWeights
    manifest: Manifest
    keys: tuple[str, ...]
    confidences: ConfidenceKeeper
    check: LeakCheck

    @property
    def device_config(self) -> DeviceConfig:
        """Where it runs, in the number format of its training."""
        return choose_device_config(self.loaded.config.provenance.get("precision", "auto"))

    def prepare(self) -> Prepared:
        """The scored images at network size."""
        return prepare(self.manifest.subset(set(self.keys)), self.loaded.config.size, self.loaded.channels)


@dataclass(frozen=True)
class Evaluation:
    """Per-image scores, their summary, and what was scored: `note` is a sentence. It took `seconds`, reading too."""

    scores: pd.DataFrame
    summary: Summary
    note: str
    networks: tuple[ScoredNetwork, ...]
    seconds: float

    @property
    def counts(self) -> ImageCounts:
        """How many images any of the networks was scored on, have an empty mask, and were skipped."""
        painted = self.scores.groupby("key")["true_pixels"].max()
        manifest = self.networks[0].manifest
        counts = manifest.count_images(int((painted == 0).sum()))
        return replace(counts, used=len(painted), trained_on=len(manifest.samples) - len(painted))


def evaluate_weights(path: Path, data: Path | str, include_normal: bool | None = None) -> Evaluation:
    """Score the weights of `path` (a study, a run folder, or a weights folder) on the data set at `data`.

    Images that took part in a network's training or selection are recognised by their bytes and, where the weights
    record them, by their decoded pixels, whatever their names, and excluded; the note says which comparison was made.
    So are near-duplicates of them, where the run folder has the training's thumbnails; on the training's own data set,
    where its folds decide, they are scored and the note tells their number.
    On its own data set each network is scored on its test fold, on foreign data on all images; there each network of
    a study makes a fold of the summary, as Table V's second half averages them. `include_normal` None means as in
    training. Raises FoldError where nothing is left, or folds overlap.
    """
    began = time.perf_counter()
    folders = find_weights(path)
    frames, notes, networks = [], [], []
    foreign: list[bool] = []
    opened: dict[bool, ImageDigests] = {}
    for folder in folders:
        loaded = load_weights(folder)
        origin = loaded.config.provenance
        trained_on_normal = bool(origin.get("include_normal", False))
        with_normal = trained_on_normal if include_normal is None else include_normal
        if with_normal not in opened:
            opened[with_normal] = ImageDigests(open_dataset(data, include_normal=with_normal))
        manifest = opened[with_normal].manifest
        if (regions := int(loaded.config.options.get("num_classes", 1))) != len(manifest.regions):
            raise WeightsError(
                f"The weights in {folder} find {regions} region(s), {manifest.name} has {len(manifest.regions)} "
                f"({', '.join(manifest.regions)}). Evaluate them on a data set with as many."
            )
        check = check_leaks(origin, opened[with_normal], read_seen_thumbnails(origin, folder.parent))
        own = bool(check.near) and origin.get("dataset_digest") in (
            manifest.digest(),
            manifest.without_normal().digest(),
        )
        excluded = check.known if own else check.known | check.near
        unseen = [key for key in manifest.keys if key not in excluded]
        fold = int(origin.get("fold", 0))
        foreign.append((check.by_files or check.by_pixels) and not check.known)
        if foreign[-1]:
            fold = fold if len(folders) > 1 else 0
        notes.append(_note(check, own, fold, len(unseen)))
        if not unseen:
            raise FoldError(f"Every image of {data} took part in the training of {folder}: nothing can be scored.")
        keeper = ConfidenceKeeper(manifest.regions[0])
        networks.append(ScoredNetwork(folder, loaded, manifest, tuple(unseen), keeper, check))
        frames.append(_score(networks[-1], fold))
    scores = pd.concat(frames, ignore_index=True)
    if not all(foreign) and bool(scores.duplicated(["key", "region"]).any()):
        raise FoldError(
            f"Several of the {len(folders)} networks of {path} hold out the same pictures of {data}, so their "
            f"folds do not add up to one score. Choose one network, e.g. {folders[0]}."
        )
    summary = aggregate(scores, repeated=all(foreign))
    note = f"Scored {'; '.join(dict.fromkeys(notes))}{f', by each of {len(folders)} networks' * all(foreign)}."
    return Evaluation(scores, summary, note, tuple(networks), time.perf_counter() - began)


def _note(check: LeakCheck, own: bool, fold: int, images: int) -> str:
    """What was scored, and how it was compared with the training images; claims nothing that was not compared."""
    if check.near:
        of = ", which are scored: the training's folds put them there" if own else " and left out"
        return f"fold {fold}: the {images} images that are not training images ({check.done}{of})"
    if check.known:
        return f"fold {fold}: the {images} images that are not training images ({check.done})"
    if check.by_pixels:
        return f"all {images} images, none of them with the pixels of a training image ({check.done})"
    return f"all {images} images ({check.done})"


def _score(scored: ScoredNetwork, fold: int) -> pd.DataFrame:
    device_config = scored.device_config
    network = device_config.place(scored.loaded.network)
    threshold = scored.loaded.config.threshold
    data = scored.prepare()
    return score_images(
        network, scored.manifest, data, fold, device_config, threshold, on_region=scored.confidences
    ).rows


def find_weights(path: Path) -> tuple[Path, ...]:
    """The weights folders of a study (all its folds), of a run, or the folder itself."""
    if path.name == "model.safetensors":
        path = path.parent
    if (path / CONFIG_FILE).is_file():
        return (path,)
    if (path / "weights" / CONFIG_FILE).is_file():
        return (path / "weights",)
    folds = tuple(sorted(config.parent for config in path.glob(f"fold-*/weights/{CONFIG_FILE}")))
    if not folds:
        raise WeightsError(
            f"No weights at {path}. Give a weights folder, a run folder (RUNS/dataset/recipe/protocol/fold-0), or a "
            "study (RUNS/dataset/recipe/protocol)."
        )
    return folds


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write both files into `folder`, which is made; what an earlier evaluation left there is replaced."""
    with output_files(folder) as temporary:
        scores = write_scores(temporary / SCORES_FILE, evaluation.scores.round(6))
        write_record(temporary / SUMMARY_FILE, evaluation_record(evaluation).model_copy(update={"scores": scores}))


def evaluation_record(evaluation: Evaluation) -> EvaluationRecord:
    """The scores and their origin, for summary.json, without paths of this machine."""
    manifest = evaluation.networks[0].manifest
    return EvaluationRecord(
        dataset=manifest.name,
        dataset_digest=manifest.digest(),
        note=evaluation.note,
        left_out=manifest.left_out,
        images=ImageCountsRecord.model_validate(evaluation.counts.to_json_dict()),
        networks=tuple(_network(scored) for scored in evaluation.networks),
        wall_seconds=round(evaluation.seconds, 1),
        commit=source_commit(),
        machine=describe_machine(),
        summary=SummaryRecord.of(evaluation.summary),
    )


def _network(scored: ScoredNetwork) -> NetworkRecord:
    """Where one network comes from, how many images it was scored on, and its calibration on them."""
    config = scored.loaded.config
    kept = scored.confidences.by_key.values()
    whole, uncertain = pool(one.whole for one in kept), pool(one.uncertain for one in kept)
    return NetworkRecord(
        model=config.model,
        options=config.options,
        size=config.size,
        threshold=config.threshold,
        trained={name: config.provenance[name] for name in ORIGIN if name in config.provenance},
        weights_sha256=digest_file(scored.folder / WEIGHTS_FILE),
        placement=scored.device_config.describe(),
        images=len(scored.keys),
        compared_with_training=scored.check.done,
        near_duplicates=tuple(sorted(scored.check.near)) if scored.check.by_thumbnails else "not checked",
        calibration=CalibrationRecord(
            region=scored.confidences.region,
            ece_all_pixels=round(whole.ece, 6),
            ece_uncertain_pixels=round(uncertain.ece, 6),
            brier_all_pixels=round(whole.brier, 6),
        ),
    )
