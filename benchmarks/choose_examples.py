"""Choose the example images of the package by the scores of networks that had not seen them, and copy them.

    python benchmarks/choose_examples.py BUS-UCLM -o src/taichinet/examples

The rule: the lesion images of BUS-UCLM are ranked by the Dice at original resolution of the cross-validated network
that had not seen them, from the lowest to the highest. Nine ranks are evenly spaced, with the first and the last. At
each rank, in this order, the image is taken; if its patient is already among the examples, the image of another patient
at the nearest rank, of two the lower. The three normal images are chosen in the same way among the other patients, from
the smallest to the largest predicted area. Equal scores are ranked by file name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pandas as pd

from taichinet.datasets.examples import RECORD_FILE

ROOT = Path(__file__).parents[1]
SCORES = Path("results/busi+bus-uclm/best-lite/grouped/on-bus-uclm/scores.csv")
LESIONS, NORMALS = 9, 3


def main() -> None:
    """Choose, copy and record the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of BUS-UCLM with images/ and masks/")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    record = choose(pd.read_csv(ROOT / SCORES))
    for kind in ("images", "masks"):
        (arguments.output / kind).mkdir(parents=True, exist_ok=True)
        for old in (arguments.output / kind).glob("*.png"):
            old.unlink()
        for row in record["images"]:
            copyfile(arguments.data / kind / row["file"], arguments.output / kind / row["file"])
    (arguments.output / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def choose(scores: pd.DataFrame) -> dict[str, Any]:
    """The record of the examples: the rule, all images among which they were chosen, and the chosen ones."""
    has_lesion = scores["true_pixels_native"] > 0
    lesions, normals = scores[has_lesion], scores[~has_lesion]
    chosen = evenly_spaced(lesions, "dice_native", LESIONS, set())
    patients = {patient_of(key) for key in chosen["key"]}
    chosen = pd.concat([chosen, evenly_spaced(normals, "predicted_pixels_native", NORMALS, patients)])
    return {
        "rule": " ".join((__doc__ or "").partition("The rule: ")[2].split()),
        "scores": SCORES.as_posix(),
        "what": "Dice at original resolution of the one of five cross-validated networks (recipe best-lite, BUSI and "
        "BUS-UCLM, grouped folds) that had not seen the image",
        "of": {
            "lesion_images": len(lesions),
            "mean_dice": round(float(lesions["dice_native"].mean()), 3),
            "missed": int((lesions["dice_native"] == 0).sum()),
            "normal_images": len(normals),
            "normal_with_prediction": int((normals["predicted_pixels_native"] > 0).sum()),
        },
        "images": [_row(row) for row in chosen.to_dict("records")],
    }


def evenly_spaced(scores: pd.DataFrame, column: str, count: int, excluded: set[str]) -> pd.DataFrame:
    """`count` rows at evenly spaced ranks of `column`, of different patients that are not `excluded`."""
    ranked = scores.sort_values([column, "key"]).reset_index(drop=True)
    patients = [patient_of(key) for key in ranked["key"]]
    used, chosen = set(excluded), []
    for rank in np.linspace(0, len(ranked) - 1, count).round().astype(int):
        nearest = sorted(range(len(ranked)), key=lambda place: (abs(place - rank), place))
        place = next(place for place in nearest if patients[place] not in used)
        used.add(patients[place])
        chosen.append(place)
    return ranked.loc[chosen].assign(rank=[place + 1 for place in chosen])


def patient_of(key: str) -> str:
    """The patient, which the name of an image begins with."""
    return key.rpartition("_")[0]


def _row(row: dict[Any, Any]) -> dict[str, Any]:
    lesion = row["true_pixels_native"] > 0
    return {
        "file": f"{row['key']}.png",
        "patient": patient_of(row["key"]),
        "lesion": bool(lesion),
        "rank": int(row["rank"]),
        "unseen_dice": round(float(row["dice_native"]), 3) if lesion else None,
        "unseen_prediction": bool(row["predicted_pixels_native"] > 0),
    }


if __name__ == "__main__":
    main()
