"""The comparison with nnU-Net in docs/compare/nnunet.md, with files as nnU-Net writes them; it is not needed itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cli.test_commands import run
from taichinet.datasets.folds import make_folds, write_folds
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.readers.busi import DATASET

ROOT = Path(__file__).parents[2]


def test_masks_of_cross_validated_nnunet_are_scored_on_the_exported_folds(tmp_path: Path) -> None:
    data = write_phantom_busi(tmp_path / "phantoms", 6, 6, 3, seed=1, size=(64, 96))
    plan = make_folds(DATASET.read(data).without_normal(), (("benign (1)", "benign (2)"),), count=3)
    folds = tmp_path / "folds.json"
    write_folds(plan, folds)
    run("data", "export", data, "--format", "nnunet", "--folds", folds, "-o", tmp_path / "raw")
    raw = tmp_path / "raw/Dataset500_busi"
    splits = json.loads((raw / "splits_final.json").read_text())
    masks = tmp_path / "masks"  # as `nnUNetv2_accumulate_crossval_results` leaves it
    masks.mkdir()
    for name in ("dataset.json", "plans.json", "summary.json"):
        (masks / name).write_text("{}")
    key_of = {
        case: entry["key"]
        for case, entry in json.loads((raw / "dataset.json").read_text())["taichinet"]["cases"].items()
    }
    for fold, split in enumerate(splits):
        assert {plan.fold_of[key_of[case]] for case in split["val"]} == {fold}
        assert fold not in {plan.fold_of[key_of[case]] for case in split["train"]}
        for case in split["val"]:
            shutil.copy(raw / f"labelsTr/{case}.png", masks)
    wrong = splits[1]["val"][0]
    label = np.asarray(Image.open(masks / f"{wrong}.png"))
    Image.fromarray(np.zeros_like(label)).save(masks / f"{wrong}.png")  # no lesion predicted

    run("score", masks, "--data", data, "--folds", folds, "--size", 32, "--name", "nnU-Net", "-o", tmp_path / "scores")
    scores = pd.read_csv(tmp_path / "scores/scores.csv").set_index("key")
    assert scores["fold"].to_dict() == plan.fold_of
    assert set(scores.index) == {key_of[case] for split in splits for case in split["val"]}
    expected = {key: float(key != key_of[wrong]) for key in plan.fold_of}
    assert scores["dice_native"].to_dict() == expected
    summary = json.loads((tmp_path / "scores/summary.json").read_text())
    assert summary["networks"][0]["model"] == "nnU-Net"
    means = {fold: np.mean([expected[key] for key, of in plan.fold_of.items() if of == fold]) for fold in range(3)}
    per_fold = summary["summary"]["groups"][0]["native"]["dice"]["per_fold"]
    assert {int(fold): round(value, 4) for fold, value in per_fold.items()} == {
        k: round(v, 4) for k, v in means.items()
    }


def commands(text: str) -> list[str]:
    """The commands of both programs with their options, without values."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^\s*((?:taichinet|nnUNetv2_\w+) [^#\n]*)", text, flags=re.MULTILINE)
    varied = {"--set", "-tr", "-device", "-np", "-npfp", "-f", "--size"}  # the phantoms need a short training
    return [
        " ".join(
            word
            for word in line.split()
            if re.match(r"(taichinet|nnUNetv2_|-|data$|train$|score$|report$)", word) and word not in varied
        )
        for line in lines
    ]


def test_document_has_the_commands_of_the_script() -> None:
    block = re.findall(
        r"```sh\n(.*?)```", (ROOT / "docs/compare/nnunet.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    script = commands((ROOT / "benchmarks/nnunet/phantoms.sh").read_text(encoding="utf-8"))
    assert len(script) == 7
    assert [command for text in block for command in commands(text)] == script
