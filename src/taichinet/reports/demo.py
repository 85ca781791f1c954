"""What the demo shows of two trained networks: scores, curves and the test images, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from taichinet.datasets.image_io import read_grey, united_mask
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.experiments.cross_validate import Study
from taichinet.experiments.records import network_title
from taichinet.inference.predictor import Predictor
from taichinet.models.weights import load_weights
from taichinet.reports.curves import LearningCurve
from taichinet.reports.overlay import heat, overlay, strip
from taichinet.reports.page import Case, NetworkScore, PageContent
from taichinet.storage.atomic import write_json
from taichinet.training.device import choose_device_config

CASES_SHOWN = 12


def demo_page(manifest: Manifest, studies: list[Study], machine: dict[str, Any]) -> PageContent:
    """The page of `studies`, each one fold of another network on the same `manifest`; the first one leads."""
    records = [study.folds[0].record for study in studies]
    first = records[0]
    experiment = first.experiment
    return PageContent(
        title="TaiChiNet on simulated breast ultrasound",
        lead=(
            f"Two networks were trained on {first.images.train} simulated B-mode phantoms and scored on "
            f"{first.images.test} others that neither training nor selection has seen. Phantoms are far easier "
            "and far more alike than patients: this page shows that the whole way works, not how well it segments."
        ),
        scores=tuple(_score(study) for study in studies),
        curves=tuple(_curve(study) for study in studies),
        cases=_cases(manifest, studies),
        made=(
            ("recipes", ", ".join(record.experiment.name for record in records)),
            ("input", f"{experiment.data.size} × {experiment.data.size} px"),
            ("epochs", str(experiment.training.epochs)),
            ("folds", f"fold 0 of {first.folds}, protocol {first.protocol}, seed {first.fold_seed}"),
            ("selection", f"{first.selection.rule} on the {first.selection.on}"),
            ("seed", str(experiment.training.seed)),
            ("precision", first.placement),
            ("commit", first.commit or "not a checkout"),
            ("machine", f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}"),
        ),
        scores_note="Means over the lesion images of the test fold at network size; one fold, so no deviation.",
        cases_note="Lesion images from the worst of the leading network to its best, then normal images.",
        strokes=("ground truth", "prediction"),
        heat="where the two paths contradict each other, |O_p − (1 − O_n)|",
    )


def _name(study: Study) -> str:
    return network_title(study.folds[0].record.experiment.model)


def _score(study: Study) -> NetworkScore:
    lesion = {score: value.mean for score, value in study.summary.lesion.scores["network"].items()}
    return NetworkScore(
        network=_name(study),
        parameters=study.folds[0].record.parameters,
        dice=lesion["dice"],
        jaccard=lesion["jaccard"],
        precision=lesion["precision"],
        sensitivity=lesion["sensitivity"],
        hd95=lesion["hd95"],
        false_positive_rate=study.summary.normal.false_positive_rate,
        seconds=study.folds[0].record.wall_seconds,
    )


def _curve(study: Study) -> LearningCurve:
    history = (study.folds[0].folder / "history.csv").read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split(",") for line in history)
    dice, step = header.index("validation_dice"), header.index("step")
    hard = [number for number, row in enumerate(rows, start=1) if row[step] == "hard"]
    return LearningCurve(
        network=_name(study),
        validation_dice=tuple(float(row[dice]) for row in rows),
        hard_from=hard[0] if hard else None,
        selected=study.folds[0].record.selection.epoch,
    )


def _cases(manifest: Manifest, studies: list[Study]) -> tuple[Case, ...]:
    samples = {sample.key: sample for sample in manifest.samples}
    device_config = choose_device_config("float32")
    predictors = {
        _name(study): Predictor(load_weights(study.folds[0].folder / "weights"), device_config) for study in studies
    }
    tables = {_name(study): study.scores.set_index("key")[["dice", "label"]] for study in studies}
    leading = next(iter(tables.values()))
    ranked = leading[leading["label"] != "normal"].sort_values("dice").index
    # The worst half of those shown, then even steps up to the best: failures first, but not only failures.
    worst = list(ranked[: CASES_SHOWN // 2])
    rest = ranked[CASES_SHOWN // 2 :]
    even = np.linspace(0, len(rest) - 1, min(CASES_SHOWN // 2, len(rest))).round().astype(int)
    lesions = [*worst, *(rest[step] for step in even)]
    normals = leading[leading["label"] == "normal"].index[:3]
    return tuple(
        _case(
            samples[str(key)],
            predictors,
            {name: float(table.loc[key, "dice"]) for name, table in tables.items()},
        )
        for key in (*lesions, *normals)
    )


def _case(sample: Sample, predictors: dict[str, Predictor], dice: dict[str, float]) -> Case:
    image, truth = read_grey(sample.image), united_mask(sample)
    scale = max(1, round(640 / image.shape[1]))
    pictures = [("image", overlay(image, scale=scale))]
    disagreement = None
    for name, predictor in predictors.items():
        prediction = predictor.predict(image)
        pictures.append((name, overlay(image, truth, prediction.mask, scale=scale)))
        if disagreement is None:
            disagreement = prediction.disagreement
    if disagreement is not None:
        pictures.append(("disagreement of the paths", heat(np.clip(disagreement, 0, 1), scale=scale)))
    return Case(caption=sample.key, dice=dice, pictures=tuple(pictures))


def write_run_record(path: Path, studies: list[Study]) -> None:
    """The results of `studies` as one JSON beside the page, for programs."""
    write_json(path, [study.folds[0].record.to_json_dict() for study in studies])


def demo_picture(page: PageContent, rows: int = 3) -> Image.Image:
    """Lesion cases of `page` from its worst to its best, one strip below the other: one picture for a README."""
    lesions = [case for case in page.cases if not case.caption.startswith("normal")]
    chosen = [lesions[round(i * (len(lesions) - 1) / max(rows - 1, 1))] for i in range(min(rows, len(lesions)))]
    strips = [
        strip([(_caption(name, case), picture) for name, picture in case.pictures], height=220) for case in chosen
    ]
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for row in strips:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _caption(name: str, case: Case) -> str:
    return f"{name}, Dice {case.dice[name]:.2f}" if name in case.dice else name
