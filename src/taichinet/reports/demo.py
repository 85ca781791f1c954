"""The files of `taichinet demo`: a page with scores, learning curves and test images; an image; the results as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from taichinet.datasets.decoded import united_mask
from taichinet.datasets.image_io import read_grey
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.experiments.cross_validate import Study
from taichinet.experiments.records import network_title
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.inference.predictor import Predictor
from taichinet.inference.shipped import shipped_weights
from taichinet.models.weights import load_weights
from taichinet.reports.charts import LearningCurve, curves_figure
from taichinet.reports.document import model as doc
from taichinet.reports.document.format import EMPTY, LONG, digits_of, duration, number
from taichinet.reports.document.html import document_html, jpeg_bytes
from taichinet.reports.overlay import PREDICTION, TRUTH, colour_map, heat, overlay, strip
from taichinet.storage.atomic import replacing, write_json, write_text
from taichinet.training.device import choose_device_config

SCORES = ("dice", "jaccard", "precision", "sensitivity", "hd95")
LESIONS_SHOWN, NORMALS_SHOWN = 12, 3
OF_PACKAGE_EVERY = 3  # of these cases, every third is also shown with the network in the package
JPEG_QUALITY = 90
LEGEND = doc.Legend(
    (
        doc.LegendItem("ground truth", (TRUTH.colour,)),
        doc.LegendItem("prediction", (PREDICTION.colour,), "dashed"),
        doc.LegendItem(
            "disagreement of the two paths, |O_p − (1 − O_n)|",
            tuple((int(r), int(g), int(b)) for r, g, b in colour_map(np.linspace(0, 1, 9))),
        ),
    )
)


@dataclass(frozen=True)
class DemoCase:
    """A test image with its overlays, as (caption, image) from left to right."""

    key: str
    label: str
    images: tuple[tuple[str, Image.Image], ...]


def write_demo(folder: Path, manifest: Manifest, studies: Sequence[Study], machine: Mapping[str, Any]) -> Path:
    """Write index.html, cases.png and results.json.

    Args:
        folder: The output folder.
        manifest: The data set of `studies`.
        studies: One fold of different networks. The worst cases are those of the first network.
        machine: See `describe_machine`.

    Returns:
        The path of the page.
    """
    cases = _cases(manifest, studies)
    page = folder / "index.html"
    packaged = _packaged_cases(manifest, [case.key for case in cases[::OF_PACKAGE_EVERY]])
    write_text(page, document_html(_document(studies, cases, packaged, machine)))
    with replacing(folder / "cases.png") as temporary:
        _cases_image(cases).save(temporary, format="PNG", optimize=True)
    write_json(folder / "results.json", [study.folds[0].record.to_json_dict() for study in studies])
    return page


def _document(
    studies: Sequence[Study], cases: Sequence[DemoCase], packaged: Sequence[DemoCase], machine: Mapping[str, Any]
) -> doc.Document:
    images = studies[0].folds[0].record.images
    lead = (
        f"Two networks were trained on {images.train} simulated B-mode phantoms and tested on {images.test} "
        "others that were used neither for training nor for model selection. Phantoms are much easier and more "
        "alike than images of patients: this page shows that the pipeline works, not how well the networks segment."
    )
    note = doc.Note(
        "Means over the lesion images of the test fold at input resolution. There is one fold, hence no standard "
        "deviation. The best score of each column is bold."
    )
    sections = [doc.Section("scores", "Scores", (note, scores_table(studies)))]
    curves = [_curve(study) for study in studies]
    if any(np.isfinite(curve.validation_dice).any() for curve in curves):
        caption = "Dice on the validation images after each epoch. The dot marks the selected epoch."
        if any(curve.hard_from and curve.hard_from > 1 for curve in curves):
            caption += (
                " At the dotted line training changes from the easy to the hard part of each lesion, and the "
                "complementary loss is added."
            )
        sections.append(doc.Section("learning", "Learning curves", (curves_figure(curves, caption),)))
    order = doc.Note("Lesion images in ascending order of the Dice of the first network, then normal images.")
    sections.append(doc.Section("cases", "Cases, worst first", (order, LEGEND, *_case_blocks(cases, columns=5))))
    origin = doc.Note(
        "`taichinet predict` uses this network unless other weights are given. It was trained on images of patients, "
        "and never on phantoms; it may also report no lesion."
    )
    blocks = (origin, *_case_blocks(packaged, columns=3))
    sections.append(doc.Section("package", "The network in the package", blocks))
    sections.append(doc.Section("settings", "Settings", (doc.Facts(_facts(studies, machine)),)))
    return doc.Document("TaiChiNet on simulated breast ultrasound", (lead,), tuple(sections))


def _case_blocks(cases: Sequence[DemoCase], columns: int) -> list[doc.Block]:
    blocks: list[doc.Block] = []
    for case in cases:
        encoded = tuple((caption, jpeg_bytes(image, JPEG_QUALITY)) for caption, image in case.images)
        blocks += [doc.Heading(case.key), doc.Images(encoded, columns=columns)]
    return blocks


def _facts(studies: Sequence[Study], machine: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    records = [study.folds[0].record for study in studies]
    first = records[0]
    experiment = first.experiment
    return (
        ("recipes", ", ".join(record.experiment.name for record in records)),
        ("input", f"{experiment.data.size} × {experiment.data.size} px"),
        ("epochs", str(experiment.training.epochs)),
        ("folds", f"fold 0 of {first.folds}, protocol {first.protocol}, seed {first.fold_seed}"),
        ("selection", f"{first.selection.rule} on the {first.selection.on}"),
        ("seed", str(experiment.training.seed)),
        ("precision", first.placement),
        ("commit", first.commit or "not a git checkout"),
        ("machine", f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}"),
    )


def scores_table(studies: Sequence[Study]) -> doc.Table:
    """One row per network; the false-positive rate only if a network was tested on normal images."""
    columns = {}
    for score in SCORES:
        means = [study.summary.lesion.score(score).mean for study in studies]
        columns[LONG[score]] = _mark_best(means, digits_of(score), lower_is_better=score == "hd95")
    rates = [study.summary.normal_images.false_positive_rate for study in studies]
    if any(rate is not None for rate in rates):
        columns["False-positive rate"] = _mark_best(rates, 2, lower_is_better=True)
    rows: list[dict[str, str | doc.Cell]] = []
    for place, study in enumerate(studies):
        record = study.folds[0].record
        scores = {heading: cells[place] for heading, cells in columns.items()}
        costs = {"Parameters": f"{record.parameters:,}", "Training": duration(record.wall_seconds, EMPTY)}
        rows.append({"Network": _title(study), **scores, **costs})
    return doc.table_of(rows, caption="Scores of the test fold")


def _mark_best(values: Sequence[float | None], digits: int, lower_is_better: bool) -> list[doc.Cell]:
    """Cells of a column; the best are marked unless all printed values are equal."""
    texts = [number(value, digits) for value in values]
    printed = [float(text) for text in texts if text != EMPTY]
    if len(set(printed)) < 2:
        return [doc.Cell(text) for text in texts]
    best = min(printed) if lower_is_better else max(printed)
    return [doc.Cell(text, best=text == f"{best:.{digits}f}") for text in texts]


def _title(study: Study) -> str:
    return network_title(study.folds[0].record.experiment.model)


def _curve(study: Study) -> LearningCurve:
    history = pd.read_csv(study.folds[0].folder / "history.csv")
    hard = history.index[history["step"] == "hard"]
    return LearningCurve(
        network=_title(study),
        validation_dice=tuple(map(float, history["validation_dice"])),
        hard_from=int(hard[0]) + 1 if len(hard) else None,
        selected=study.folds[0].record.selection.epoch,
    )


def _cases(manifest: Manifest, studies: Sequence[Study]) -> list[DemoCase]:
    """Lesion images from the worst to the best of the first network, then normal images, drawn for every network."""
    samples = {sample.key: sample for sample in manifest.samples}
    device_config = choose_device_config("float32")
    folders = {_title(study): study.folds[0].folder / "weights" for study in studies}
    predictors = {name: Predictor(load_weights(folder), device_config) for name, folder in folders.items()}
    dice = pd.DataFrame({_title(study): study.scores.set_index("key")["dice"] for study in studies})
    labels = studies[0].scores.set_index("key")["label"]
    ranked = dice[labels != "normal"].sort_values(_title(studies[0])).index
    # The worst images, then evenly spaced ranks up to the best.
    worst, rest = ranked[: LESIONS_SHOWN // 2], ranked[LESIONS_SHOWN // 2 :]
    even = np.linspace(0, len(rest) - 1, min(LESIONS_SHOWN // 2, len(rest))).round().astype(int)
    normals = labels.index[labels == "normal"][:NORMALS_SHOWN]
    return [
        _case(samples[str(key)], predictors, {name: float(dice.loc[key, name]) for name in predictors})
        for key in (*worst, *rest[even], *normals)
    ]


def _packaged_cases(manifest: Manifest, keys: Sequence[str]) -> list[DemoCase]:
    """Images with the prediction of the network in the package."""
    predictor, _ = open_predictor(shipped_weights(), PredictorChoices())
    samples = (sample for sample in manifest.samples if sample.key in keys)
    return [_case(sample, {"network in the package": predictor}, dice={}) for sample in samples]


def _case(sample: Sample, predictors: Mapping[str, Predictor], dice: Mapping[str, float]) -> DemoCase:
    image, truth = read_grey(sample.image), united_mask(sample)
    scale = max(1, round(640 / image.shape[1]))
    images = [("image", overlay(image, scale=scale))]
    disagreement = None
    for name, predictor in predictors.items():
        prediction = predictor.predict(image)
        caption = f"{name}, Dice {dice[name]:.2f}" if np.isfinite(dice.get(name, np.nan)) else name
        images.append((caption, overlay(image, truth, prediction.mask, scale=scale)))
        disagreement = prediction.disagreement if disagreement is None else disagreement
    if disagreement is not None:
        images.append(("disagreement of the paths", heat(np.clip(disagreement, 0, 1), scale=scale)))
    return DemoCase(sample.key, sample.label, tuple(images))


def _cases_image(cases: Sequence[DemoCase], rows: int = 3) -> Image.Image:
    """The worst, the best and evenly spaced lesion cases between them, one strip below the other."""
    lesions = [case for case in cases if case.label != "normal"]
    chosen = np.linspace(0, len(lesions) - 1, min(rows, len(lesions))).round().astype(int)
    strips = [strip(lesions[place].images, height=220) for place in chosen]
    sheet = Image.new("RGB", (max(row.width for row in strips), sum(row.height for row in strips)), "white")
    top = 0
    for row in strips:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
