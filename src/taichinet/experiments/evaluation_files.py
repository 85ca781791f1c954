"""What `taichinet evaluate -o` leaves: scores.csv, a row an image and region, and summary.json, which says of what."""

from __future__ import annotations

from pathlib import Path

from taichinet.evaluation.calibration import pool
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
from taichinet.experiments.reevaluate import Evaluation, ScoredNetwork
from taichinet.models.weights import WEIGHTS_FILE
from taichinet.storage.digest import digest_file
from taichinet.storage.output_folder import output_files

ORIGIN = ("recipe", "dataset", "dataset_digest", "include_normal", "protocol", "fold", "commit")


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
