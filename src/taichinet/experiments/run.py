"""run_fold: one fold from data to scores, with its run folder; the middle of the way from command to backward().

A run folder holds: experiment.yaml (all settings), history.csv (a row an epoch), weights/ (the selected epoch),
scores.csv (a row a test image), result.json (summary and provenance), and checkpoint.pt until the fold has ended.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from taichinet.datasets.folds import FoldPlan, Split
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared
from taichinet.errors import SettingError
from taichinet.evaluation.aggregate import aggregate
from taichinet.experiments.distillation import ask_teacher, teacher_digest
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.fold_result import FoldResult, read_fold, run_identity
from taichinet.experiments.known_images import seen_by_training
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.experiments.records import SCORES_FILE, write_scores
from taichinet.experiments.scoring import score_images
from taichinet.models.backbones import architecture
from taichinet.models.catalogue import create_model, model_settings
from taichinet.models.complexity import measure_complexity
from taichinet.models.taichinet.network import TaiChiNet, without_training_parts
from taichinet.models.weights import WeightsConfig, save_weights
from taichinet.storage.atomic import write_json, write_text
from taichinet.storage.lock import locked
from taichinet.training.checkpoint import clear_checkpoints, load_checkpoint
from taichinet.training.device import Placement, choose_placement
from taichinet.training.easy_hard import MinedRegions, mine_regions, refuse_leakage
from taichinet.training.fit import TrainingData, fit, refuse_idle_ranks

OnEpoch = Callable[[str, dict[str, Any], int], None]


def run_fold(
    experiment: Experiment,
    manifest: Manifest,
    data: Prepared,
    plan: FoldPlan,
    fold: int,
    folder: Path,
    mining_cache: Path,
    resume: bool = False,
    on_epoch: OnEpoch = lambda phase, row, epochs: None,
    teacher: Path | None = None,
) -> FoldResult:
    """Train `experiment` on the training part of `fold`, score its test part, write the run folder.

    `teacher` is the run folder of the fold's teacher, for a recipe that has one. What only training needs (a second
    path that answers nothing) is neither scored, nor counted, nor kept.

    With `resume`, a finished fold is read back and an interrupted one goes on from its last epoch; without, the
    fold is trained from the start. The test images are used once, after the weights are selected. Raises LockedError
    where another process works in `folder`.
    """
    with locked(folder / "claim") as lock:

        def hear(phase: str, row: dict[str, Any], epochs: int) -> None:
            lock.verify()
            on_epoch(phase, row, epochs)

        return _run_fold(experiment, manifest, data, plan, fold, folder, mining_cache, resume, hear, teacher)


def _run_fold(
    experiment: Experiment,
    manifest: Manifest,
    data: Prepared,
    plan: FoldPlan,
    fold: int,
    folder: Path,
    mining_cache: Path,
    resume: bool,
    on_epoch: OnEpoch,
    teacher: Path | None,
) -> FoldResult:
    split = plan.split(fold, manifest.labels, experiment.data.validation_share)
    placement = choose_placement(experiment.training.precision, experiment.training.channels_last)
    refuse_idle_ranks(experiment.training, placement)  # before the mining, which takes hours
    if (teacher is None) != (experiment.teacher is None):
        raise SettingError(f"Recipe '{experiment.name}' has teacher {experiment.teacher}, but was given {teacher}.")
    taught_by = None if teacher is None else teacher_digest(teacher)
    identity = run_identity(experiment, data, split, plan, placement.bf16, taught_by)
    if resume and (folder / "result.json").exists():
        return read_fold(folder, identity)
    regions = data.lesion.shape[1]
    if (asked := model_settings(experiment.model, **experiment.options).num_classes) != regions:
        raise SettingError(f"options.num_classes is {asked}, but {plan.dataset} has {regions} region(s). Leave it out.")
    if resume:
        load_checkpoint(folder, identity)  # refuses a foreign one before anything is written
    began = time.perf_counter()
    commit = source_commit()
    earlier_seconds = _elapsed(folder) if resume else 0.0
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in ("result.json", "scores.csv", "history.csv", "seconds"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "weights", ignore_errors=True)
        clear_checkpoints(folder)
    write_text(folder / "experiment.yaml", yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))

    train = data.subset(split.train)
    mined = _mine(experiment, train, split, mining_cache, placement, on_epoch)
    torch.manual_seed(experiment.training.seed)
    network = create_model(experiment.model, **experiment.options)

    def hear(row: dict[str, Any]) -> None:
        line = pd.DataFrame([row])
        history = folder / "history.csv"
        earlier = history.read_text(encoding="utf-8") if history.exists() else ""
        write_text(history, earlier + line.to_csv(header=not earlier, index=False))
        write_text(folder / "seconds", f"{earlier_seconds + time.perf_counter() - began:.1f}")
        on_epoch("train", row, experiment.training.epochs)

    fitted = fit(
        network,
        TrainingData(
            train=train,
            validation=data.subset(split.validation),
            regions=None if mined is None else mined.regions,
            augmentation=experiment.data.augmentation,
            taught=None if teacher is None else ask_teacher(teacher, train, split, placement),
        ),
        experiment.objective,
        experiment.training,
        placement,
        folder,
        identity,
        resume,
        hear,
    )
    write_text(folder / "history.csv", pd.DataFrame(fitted.history).to_csv(index=False))
    trained, network = network, without_training_parts(network)
    options = architecture(experiment.options)
    if network is not trained and isinstance(network, TaiChiNet):
        options = network.settings.model_dump(mode="json", exclude_defaults=True)
    scored = score_images(network, manifest, data.subset(split.test), fold, placement)
    scores = scored.rows
    recorded = write_scores(folder / SCORES_FILE, scores)
    result = {
        "identity": identity,
        "experiment": experiment.model_dump(mode="json"),
        "dataset": plan.dataset,
        "dataset_digest": plan.digest,
        "protocol": plan.protocol,
        "fold": fold,
        "folds": plan.count,
        "fold_seed": plan.seed,
        "images": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "selection": {
            "rule": experiment.training.selection,
            "on": "inner validation split, disjoint from the test fold" if split.validation else "nothing",
            "epoch": fitted.best_epoch,
            "validation_dice": _json_number(fitted.best_dice),
        },
        "mining": None if mined is None else _mining_summary(mined),
        "teacher": taught_by,
        **asdict(measure_complexity(experiment.model, experiment.data.size, **options)),
        "placement": placement.describe(),
        "inference_seconds_per_image": scored.inference_seconds_per_image,
        "wall_seconds": round(earlier_seconds + time.perf_counter() - began, 1),
        "commit": commit,
        "machine": describe_machine(),
        "scores": recorded.model_dump(),
        "summary": aggregate(scores).to_json_dict(),
    }
    config = WeightsConfig(
        model=experiment.model,
        options=options,
        size=experiment.data.size,
        provenance={
            "recipe": experiment.name,
            "dataset": plan.dataset,
            "dataset_digest": plan.digest,
            "include_normal": experiment.data.include_normal,
            "protocol": plan.protocol,
            "fold": fold,
            "train_keys": list(split.train),
            "validation_keys": list(split.validation),
            "commit": commit,
            "precision": experiment.training.precision,
            **seen_by_training(manifest.subset({*split.train, *split.validation})),
        },
    )
    save_weights(network, config, folder / "weights")
    # Last of all: its presence says that the fold is finished.
    write_json(folder / "result.json", result)
    clear_checkpoints(folder)
    return FoldResult(folder, scores, result)


def _mine(
    experiment: Experiment, train: Prepared, split: Split, cache: Path, placement: Placement, on_epoch: OnEpoch
) -> MinedRegions | None:
    if experiment.training.strategy == "plain":
        return None
    mined = mine_regions(
        train,
        experiment.mining,
        experiment.data.augmentation,
        cache,
        lambda row: on_epoch("mine", row, experiment.mining.epochs),
        placement,
    )
    refuse_leakage(mined.provenance, (*split.validation, *split.test))
    return mined


def _mining_summary(mined: MinedRegions) -> dict[str, Any]:
    easy = mined.regions.easy.flatten(1).sum(1)
    hard = mined.regions.hard.flatten(1).sum(1)
    return {
        "identity": mined.provenance.identity(),
        "seconds": mined.provenance.seconds,
        "easy_share_of_lesion": mined.provenance.easy_share_of_lesion,
        "hard_share_of_lesion": mined.provenance.hard_share_of_lesion,
        "images_without_easy_part": int((easy == 0).sum()),
        "images_without_hard_part": int((hard == 0).sum()),
    }


def _elapsed(folder: Path) -> float:
    try:
        return float((folder / "seconds").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0


def _json_number(value: float) -> float | None:
    return value if value == value else None
