"""Scores of trained weights under the shift suite (`datasets/ultrasound/shifts.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import pandas as pd
from torch import nn

from taichinet.datasets.prepared import Prepared
from taichinet.datasets.ultrasound.shifts import SHIFTS, shifted
from taichinet.evaluation.decision import Decision
from taichinet.evaluation.metrics import dice_score
from taichinet.experiments.evaluate import ScoredNetwork
from taichinet.experiments.records import ShiftScores
from taichinet.experiments.scoring import BATCH_SIZE
from taichinet.progress import tracked
from taichinet.training.device import DeviceConfig
from taichinet.training.loop import predict_batches

UNCHANGED = "none"


def score_shifts(networks: Sequence[ScoredNetwork]) -> tuple[ShiftScores, ...]:
    """Score networks on their images without and with every shift, with the decision of each.

    Args:
        networks: Networks and the images that each is scored on, see `evaluate_weights`. Images of all are pooled.

    Returns:
        The scores of the first region for each shift; the first are those without one. An image whose lesion is outside
        the changed image is left out.
    """
    parts = []
    for number, scored in enumerate(networks):
        network, data = scored.network(), scored.data()
        for name in tracked((UNCHANGED, *SHIFTS), "scoring changed images"):
            changed = data if name == UNCHANGED else shifted(data, name)
            scores = _image_scores(network, changed, scored.decision, scored.device_config)
            parts.append(scores.assign(shift=name, network=number))
    return _summarise(pd.concat(parts))


def _image_scores(network: nn.Module, data: Prepared, decision: Decision, device_config: DeviceConfig) -> pd.DataFrame:
    """For each image its Dice at input resolution, NaN without a lesion, and whether anything is predicted."""
    rows = []
    predictions = predict_batches(network, data.to(device_config.device).batches(BATCH_SIZE), device_config)
    probabilities = (lesion for prediction in predictions for lesion in prediction.lesion[:, 0].numpy())
    for key, probability, lesion in zip(data.keys, probabilities, data.lesion[:, 0].cpu().numpy(), strict=True):
        mask, truth = decision.mask(probability, decision.presence_score(probability)), lesion > 0
        dice = dice_score(mask, truth) if truth.any() else nan
        rows.append({"key": key, "dice": dice, "predicted": bool(mask.any())})
    return pd.DataFrame(rows)


def _summarise(scores: pd.DataFrame) -> tuple[ShiftScores, ...]:
    indexed = scores.set_index(["network", "key"])
    unchanged = indexed[indexed["shift"] == UNCHANGED]
    normal = unchanged.index[unchanged["dice"].isna()]
    rows = []
    for name, part in indexed.groupby("shift", sort=False):
        dice, predicted = part["dice"].dropna(), part.loc[normal, "predicted"]
        lost = unchanged["dice"].loc[dice.index] - dice
        rows.append(
            ShiftScores(
                shift=str(name),
                lesion_images=len(dice),
                dice=float(dice.mean()) if len(dice) else None,
                lost_dice=float(lost.mean()) if len(dice) else None,
                normal_images=len(normal),
                false_positive_rate=float(predicted.mean()) if len(normal) else None,
            )
        )
    return tuple(rows)
