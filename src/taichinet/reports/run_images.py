"""The images in a run folder, drawn while a network is trained: its learning curves and some validation images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from taichinet.datasets.prepared import Prepared
from taichinet.evaluation.decision import Decision
from taichinet.evaluation.metrics import dice_score
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.records import FoldRecord, TrainingRecord
from taichinet.experiments.scoring import BATCH_SIZE
from taichinet.experiments.training_run import CURVES_FILE, HISTORY_FILE, VALIDATION_FILE
from taichinet.reports.figures.sheet import ORANGE
from taichinet.reports.overlay import overlay, strip
from taichinet.storage.atomic import replacing
from taichinet.training.device import DeviceConfig
from taichinet.training.loop import predict_batches

SHARE_OF_TIME = 0.01  # of the training, at most, for drawing the curves before its end
FIRST_SECONDS = 1.0  # expected for the first drawing
PANELS = {"loss": "loss", "validation_dice": "validation Dice", "learning_rate": "learning rate"}
INK, FAINT, BLUE = "#24282F", "#D9DCE1", "#0072B2"
WIDTH, PANEL_HEIGHT, DPI = 6.4, 2.1, 110  # inches
IMAGE_HEIGHT = 320  # pixels


class RunImages:
    """Draws learning-curves.png during the training, and validation.png at its end. An `Observer`."""

    def __init__(self, job: FoldJob) -> None:
        self._job = job
        self._began = time.perf_counter()
        self._spent, self._expected = 0.0, FIRST_SECONDS

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Draw the curves, unless this would take more than `SHARE_OF_TIME` of the training so far."""
        began = time.perf_counter()
        if self._spent + self._expected <= SHARE_OF_TIME * (began - self._began):
            self._draw_curves(selected=None)
            self._expected = time.perf_counter() - began
            self._spent += self._expected

    def completed(self, network: nn.Module, decision: Decision, record: FoldRecord | TrainingRecord) -> None:
        """Draw the curves with the selected epoch, and validation images if the training has any."""
        self._draw_curves(record.selection.epoch if isinstance(record, FoldRecord) else None)
        job = self._job
        if job.split.validation:
            validation = job.study.prepared.subset(job.split.validation)
            cases = choose_cases(predict_cases(network, decision, validation, job.device_config))
            with replacing(job.folder / VALIDATION_FILE) as temporary:
                draw_cases(cases).save(temporary, format="PNG")

    def _draw_curves(self, selected: int | None) -> None:
        draw_curves(self._job.folder, self._job.experiment.training.selection, selected)


def draw_curves(folder: Path, rule: str, selected: int | None = None) -> None:
    """Draw loss, validation Dice and learning rate of the epochs in history.csv to learning-curves.png.

    Args:
        folder: The run folder.
        rule: `selection` of the training settings.
        selected: The selected epoch, from 1; None for the one that `rule` selects from the epochs so far.

    Raises:
        StorageError: The file cannot be written.
    """
    history = pd.read_csv(folder / HISTORY_FILE)
    # Without validation images there is no Dice, and runs of earlier versions have no learning rate.
    panels = {name: title for name, title in PANELS.items() if name in history and history[name].notna().any()}
    dice = history["validation_dice"]
    if selected is None:
        selected = int(history["epoch"].iloc[dice.argmax() if rule != "last" and dice.notna().all() else -1])
    size = (WIDTH, PANEL_HEIGHT * len(panels) + 0.5)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, title) in zip(grid, panels.items(), strict=True):
        axes.plot(history["epoch"], history[name], ".-" if len(history) < 30 else "-", color=BLUE, linewidth=1.6)
        axes.set_ylabel(title, color=INK)
        _mark_epochs(axes, history, selected)
    if "validation_dice" in panels:
        axes = grid[list(panels).index("validation_dice")]
        axes.plot([selected], [dice[selected - 1]], "o", color=ORANGE, markersize=8, zorder=3)
        axes.set_ylim(0, 1)
    grid[-1].set_xlabel("epoch", color=INK)
    grid[-1].xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    grid[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=9)
    with replacing(folder / CURVES_FILE) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _mark_epochs(axes: Axes, history: pd.DataFrame, selected: int) -> None:
    """Mark the selected epoch, and the change from the easy to the hard step if there is one."""
    axes.axvline(selected, color=ORANGE, linewidth=1.4, linestyle="--", label=f"selected epoch: {selected}")
    hard = history["epoch"][history["step"] == "hard"]
    if len(hard) and hard.iloc[0] > 1:
        label = f"easy step before, hard step from epoch {hard.iloc[0]}"
        axes.axvline(hard.iloc[0] - 0.5, color=INK, linewidth=1.2, linestyle=":", label=label)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class Case:
    """An image at input resolution, grey uint8 (S, S), the masks of its first region, bool (S, S), and their Dice."""

    key: str
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    dice: float


def predict_cases(network: nn.Module, decision: Decision, data: Prepared, device_config: DeviceConfig) -> list[Case]:
    """Predict the first region of all images of `data`.

    Args:
        network: The network, on its device.
        decision: How masks are made from probabilities.
        data: Images and masks at input resolution.
        device_config: Device and precision.

    Returns:
        One case per image; the Dice of images without lesion is NaN.
    """
    images = data.to(device_config.device)
    predictions = predict_batches(network, images.batches(BATCH_SIZE), device_config)
    probabilities = torch.cat([prediction.lesion[:, 0] for prediction in predictions]).numpy()
    cases = []
    for key, image, lesion, probability in zip(data.keys, data.image, data.lesion, probabilities, strict=True):
        truth = lesion[0].numpy() > 0
        mask = decision.mask(probability, decision.presence_score(probability))
        dice = dice_score(mask, truth) if truth.any() else float("nan")
        cases.append(Case(key, _grey(image.numpy()), truth, mask, dice))
    return cases


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey image (S, S) of (1, S, S) or of RGB (3, S, S)."""
    return image[0] if len(image) == 1 else np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))


def choose_cases(cases: list[Case]) -> dict[str, Case]:
    """The worst, the median and the best case by Dice, if there are three with a lesion; of equal ones by their key."""
    ranked = sorted((case for case in cases if isfinite(case.dice)), key=lambda case: (case.dice, case.key))
    if len(ranked) < 3:
        return {f"validation image {number}": case for number, case in enumerate((ranked or cases)[:2], start=1)}
    return {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}


def draw_cases(cases: dict[str, Case]) -> Image.Image:
    """The images in one row, and below each the borders of its ground truth and prediction."""
    images, overlays = [], []
    for name, case in cases.items():
        scale = max(1, round(IMAGE_HEIGHT / len(case.image)))
        dice = f", Dice {case.dice:.3f}" if isfinite(case.dice) else ""
        images.append((f"{name}: {case.key}{dice}", overlay(case.image, scale=scale)))
        drawn = overlay(case.image, case.truth, case.prediction, scale=scale)
        overlays.append(("ground truth: solid red\nprediction: dashed cyan", drawn))
    rows = [strip(images, IMAGE_HEIGHT), strip(overlays, IMAGE_HEIGHT)]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    sheet.paste(rows[0], (0, 0))
    sheet.paste(rows[1], (0, rows[0].height))
    return sheet
