"""The page of `taichinet demo`: example images, folds, a comparison of two networks, next steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from taichinet.datasets.decoded import united_mask
from taichinet.datasets.examples import CREDIT, population
from taichinet.datasets.image_io import read_grey
from taichinet.evaluation.metrics import dice_score
from taichinet.experiments.cross_validate import Study
from taichinet.inference.predictor import Predictor
from taichinet.models.weights import load_weights
from taichinet.reports.charts import LearningCurve, curves_figure
from taichinet.reports.demo.results import (
    SEEN,
    DemoResults,
    Segmented,
    results_json,
    title_of_study,
    verdict_text,
)
from taichinet.reports.differences import differences_figure
from taichinet.reports.document import model as doc
from taichinet.reports.document.format import EMPTY, LONG, digits_of, duration, number
from taichinet.reports.document.html import document_html, jpeg_bytes
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH, outline, overlay
from taichinet.reports.paper_tables.comparisons import SCORE
from taichinet.reports.paper_tables.tested import Selection
from taichinet.storage.atomic import write_json, write_text
from taichinet.training.device import choose_device_config

SCORES = ("dice", "precision", "sensitivity")
PHANTOMS_SHOWN = 4
JPEG_QUALITY = 82
WIDTH_SHOWN = 768  # pixels of an image in the page, which shows it at about half of this width
LINE = 1.7  # factor of the width of contours at this size


def write_demo(folder: Path, results: DemoResults, next_steps: Sequence[tuple[str, Sequence[str]]]) -> Path:
    """Write index.html, which is complete in itself, and results.json.

    Args:
        folder: The output folder.
        results: What was computed.
        next_steps: For each purpose the commands.

    Returns:
        The path of the page.
    """
    page = folder / "index.html"
    write_text(page, document_html(_document(results, next_steps)))
    write_json(folder / "results.json", results_json(results))
    return page


def _document(results: DemoResults, next_steps: Sequence[tuple[str, Sequence[str]]]) -> doc.Document:
    lead = (
        "`taichinet` outlines lesions in breast ultrasound images, compares segmentation networks on the same folds, "
        "and exports them for other programs. `taichinet demo` computed everything on this page in "
        f"{results.seconds:.0f} seconds on one computer."
    )
    sections = (
        doc.Section("lesions", "Lesions outlined", tuple(_lesion_blocks(results))),
        doc.Section("folds", "Near-duplicates stay in one fold", tuple(_fold_blocks(results))),
        doc.Section("comparison", "Two networks compared", tuple(_comparison_blocks(results))),
        doc.Section("next", "Next steps", tuple(_next_blocks(next_steps))),
        doc.Section("settings", "Settings", (doc.Facts(_facts(results)),)),
    )
    caveat = "taichinet is a research tool and not a medical device."
    return doc.Document("Breast lesions in ultrasound, outlined by TaiChiNet", (lead,), sections, caveat)


def _lesion_blocks(results: DemoResults) -> list[doc.Block]:
    every = population()
    milliseconds = 1000 * results.seconds_per_image
    return [
        doc.Note(
            f"{len(results.segmented)} images of {len(results.segmented)} patients, about {milliseconds:.0f} ms each "
            "on this computer. The numbers are Dice, the overlap of the two outlines, from 0 (none) to 1 (identical)."
        ),
        doc.Note(
            f"{SEEN} The second number is that of a network that was trained in the same way on other images, not on "
            "this one: it is what to expect on a new image from the same scanner."
        ),
        doc.Legend(
            (
                doc.LegendItem("outline of the experts", (TRUTH.colour,)),
                doc.LegendItem("outline of the network in the package", (PREDICTION.colour,), "dashed"),
            )
        ),
        doc.Images(tuple((_example_caption(one), _jpeg(_outlined(one))) for one in results.segmented), columns=3),
        doc.Note(
            "The images were chosen at evenly spaced ranks of the second number, from the worst to the best, and not "
            f"by appearance. Over all {every.lesion_images} lesion images of this part of BUS-UCLM, networks that had "
            f"not seen them reach a mean Dice of {every.mean_dice:.2f} and miss {every.missed} lesions. On "
            f"{every.normal_with_prediction} of {every.normal_images} images without a lesion they outline one."
        ),
        doc.Note(CREDIT),
    ]


def _example_caption(segmented: Segmented) -> str:
    seen, unseen = segmented.texts()
    truth = "" if segmented.example.lesion else "No lesion. "
    return f"{truth}Trained on it: {seen}. Not trained on it: {unseen}."


def _outlined(segmented: Segmented) -> Image.Image:
    scale = max(1, round(WIDTH_SHOWN / segmented.image.shape[1]))
    drawn = overlay(segmented.image, scale=scale)
    for mask, stroke in ((segmented.truth, TRUTH), (segmented.mask, PREDICTION)):
        dash = None if stroke.dash is None else (LINE * stroke.dash[0], LINE * stroke.dash[1])
        outline(drawn, mask, replace(stroke, width=LINE * stroke.width, dash=dash), scale)
    return drawn


def _fold_blocks(results: DemoResults) -> list[doc.Block]:
    leaks = results.leaks
    samples = {sample.key: sample for sample in results.manifest.samples}
    shown = [
        (f"{which} version", _jpeg(_twice(read_grey(samples[key].image))))
        for which, key in zip(("first", "second"), leaks.shown, strict=True)
    ]
    rows = [
        {"Folds": name, "Pairs in training and test": f"{count} of {leaks.pairs}"}
        for name, count in (("random", leaks.random), ("grouped, the default", leaks.grouped))
    ]
    return [
        doc.Note(
            "Public data sets have some scenes more than once, with another crop or brightness. If one version is in "
            "training and the other in test, the network is tested on a scene that it was trained on, and the score is "
            "too high."
        ),
        doc.Note(
            f"In this data set of simulated images, {leaks.pairs} images were written twice on purpose. `taichinet` "
            f"found {leaks.found} of these {leaks.pairs} pairs from the pixels alone. The table has the pairs with one "
            f"version in training and the other in test, when the images are divided into {leaks.folds} folds and each "
            "fold is tested once."
        ),
        doc.table_of(rows, caption="Near-duplicates in both the training and the test set"),
        doc.Images(tuple(shown), columns=4),
    ]


def _comparison_blocks(results: DemoResults) -> list[doc.Block]:
    first, second = (title_of_study(study) for study in results.studies)
    ours, theirs = (
        method.per_image(Selection(), SCORE, results.comparison.folds)
        for method in (results.comparison.method, results.comparison.reference)
    )
    differences = [float(ours[key] - theirs[key]) for key in ours.index]
    curves = [_curve(study) for study in results.studies]
    caption = "Dice on validation images after each epoch. The dot marks the selected epoch."
    images = results.studies[0].folds[0].record.images
    return [
        doc.Note(verdict_text(results.comparison, results.studies)),
        differences_figure(differences, results.comparison.test, first, second),
        doc.Note(
            f"Scores of the {images.test} test images, which were used neither for training nor to choose the epoch: "
            "means over the images with a lesion, at the resolution of the network. The best score of each column is "
            "bold, whether or not the difference is clear."
        ),
        scores_table(results.studies),
        *((curves_figure(curves, caption),) if any(np.isfinite(c.validation_dice).any() for c in curves) else ()),
        doc.Legend(
            (
                doc.LegendItem("true outline", (TRUTH.colour,)),
                doc.LegendItem(first, (PREDICTION.colour,), "dashed"),
                doc.LegendItem(second, (SECOND.colour,), "dotted"),
            )
        ),
        doc.Images(tuple(_phantom_images(results, pd.Series(differences, index=ours.index))), columns=4),
        doc.Note(
            "Simulated test images at evenly spaced ranks of the difference in Dice, from the lowest to the highest."
        ),
    ]


def _phantom_images(results: DemoResults, differences: pd.Series[float]) -> list[tuple[str, bytes]]:
    """Test images at evenly spaced ranks of the difference, with the outlines of both networks."""
    device_config = choose_device_config("float32")
    predictors = [
        Predictor(load_weights(study.folds[0].folder / "weights"), device_config) for study in results.studies
    ]
    samples = {sample.key: sample for sample in results.manifest.samples}
    ranked = differences.sort_values().index
    chosen = np.linspace(0, len(ranked) - 1, min(PHANTOMS_SHOWN, len(ranked))).round().astype(int)
    shown = []
    for key in ranked[chosen]:
        image, truth = read_grey(samples[str(key)].image), united_mask(samples[str(key)])
        masks = [predictor.predict(image).mask for predictor in predictors]
        dice = [
            f"{title_of_study(study)} {dice_score(mask, truth):.2f}"
            for study, mask in zip(results.studies, masks, strict=True)
        ]
        scale = max(1, round(480 / image.shape[1]))
        shown.append((f"Dice: {', '.join(dice)}", _jpeg(overlay(image, truth, masks[0], masks[1], scale))))
    return shown


def _next_blocks(next_steps: Sequence[tuple[str, Sequence[str]]]) -> list[doc.Block]:
    blocks: list[doc.Block] = [doc.Note("Each command can be run as printed, in the folder in which the demo was run.")]
    for purpose, commands in next_steps:
        blocks += [doc.Heading(purpose), doc.Commands(tuple(commands))]
    return blocks


def _facts(results: DemoResults) -> tuple[tuple[str, str], ...]:
    records = [study.folds[0].record for study in results.studies]
    first, machine = records[0], results.machine
    experiment = first.experiment
    return (
        ("recipes", f"{', '.join(record.experiment.name for record in records)}, shortened for this demo"),
        ("input", f"{experiment.data.size} × {experiment.data.size} px"),
        ("epochs", str(experiment.training.epochs)),
        ("folds", f"fold 0 of {first.folds}, protocol {first.protocol}, seed {first.fold_seed}"),
        ("images", f"{first.images.train} training, {first.images.validation} validation, {first.images.test} test"),
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
        columns[LONG[score]] = _mark_best(means, digits_of(score))
    rates = [study.summary.normal_images.false_positive_rate for study in studies]
    if any(rate is not None for rate in rates):
        columns["False-positive rate"] = _mark_best(rates, 2, lower_is_better=True)
    rows: list[dict[str, str | doc.Cell]] = []
    for place, study in enumerate(studies):
        record = study.folds[0].record
        scores = {heading: cells[place] for heading, cells in columns.items()}
        costs = {"Parameters": f"{record.parameters:,}", "Training": duration(record.wall_seconds, EMPTY)}
        rows.append({"Network": title_of_study(study), **scores, **costs})
    return doc.table_of(rows, caption="Scores of the test fold")


def _mark_best(values: Sequence[float | None], digits: int, lower_is_better: bool = False) -> list[doc.Cell]:
    """Cells of a column; the best are marked unless all printed values are equal."""
    texts = [number(value, digits) for value in values]
    printed = [float(text) for text in texts if text != EMPTY]
    if len(set(printed)) < 2:
        return [doc.Cell(text) for text in texts]
    best = min(printed) if lower_is_better else max(printed)
    return [doc.Cell(text, best=text == f"{best:.{digits}f}") for text in texts]


def _curve(study: Study) -> LearningCurve:
    history = pd.read_csv(study.folds[0].folder / "history.csv")
    hard = history.index[history["step"] == "hard"]
    return LearningCurve(
        network=title_of_study(study),
        validation_dice=tuple(map(float, history["validation_dice"])),
        hard_from=int(hard[0]) + 1 if len(hard) else None,
        selected=study.folds[0].record.selection.epoch,
    )


def _twice(image: NDArray[np.uint8]) -> Image.Image:
    return overlay(image, scale=3)


def _jpeg(image: Image.Image) -> bytes:
    return jpeg_bytes(image, JPEG_QUALITY)
