"""A model card names the organ of its training data, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.study_for_use import experiment, write_all_images, write_fold
from typer.testing import CliRunner

from taichinet.cli import app as command_line
from taichinet.cli.weights_notes import notes_on_weights
from taichinet.datasets.catalogue import CATALOGUE, organ_of


def cards(folder: Path, dataset: str) -> list[str]:
    """The card of a study without normal images, and that of one of its folds."""
    lesions = experiment(data__include_normal=False)
    study = folder / "runs" / dataset / "short-unet" / "grouped"
    for fold in (0, 1):
        write_fold(study, fold, dataset=dataset, experiment=lesions)
    write_all_images(study, dataset=dataset, experiment=lesions)
    texts = []
    for number, path in enumerate((study, study / "fold-0")):
        out = folder / f"card-{number}"
        result = CliRunner().invoke(command_line.app, ["package-weights", str(path), "--output", str(out)])
        assert result.exit_code == 0, (result.output, result.exception)
        texts.append((out / "README.md").read_text(encoding="utf-8"))
    return texts


@pytest.mark.parametrize(
    ("dataset", "task", "normal", "absent"),
    [
        ("tn3k", "Lesion segmentation in thyroid ultrasound:", "on a normal thyroid it often predicts one", "breast"),
        ("drishti-gs", "Segmentation of disc and cup in fundus photographs:", "", "ultrasound"),
        ("busi", "Lesion segmentation in breast ultrasound:", "on a normal breast it often predicts one", "thyroid"),
        ("clinic", "Lesion segmentation:", "on an image without a lesion it often predicts one", "breast"),
    ],
)
def test_card_names_the_organ_of_the_training(
    dataset: str, task: str, normal: str, absent: str, tmp_path: Path
) -> None:
    for card in cards(tmp_path, dataset):
        assert task in card
        assert normal in card
        assert absent not in card.lower()
        if dataset != "busi":
            assert "breast" not in card.lower()
        if not normal:
            assert "often predicts" not in card


def test_every_data_set_of_the_catalogue_with_a_publication_has_an_organ() -> None:
    formats = {"nnunet", "monai", "folder"}
    assert {name for name in CATALOGUE if not organ_of(name)} == formats
    assert organ_of("busi+bus-uclm") == "breast"
    assert organ_of("busi+tn3k") == organ_of("clinic") == ""


def test_notes_are_printed_only_for_what_is_known() -> None:
    assert notes_on_weights("w", {}, ["tn3k"]) == []
    assert notes_on_weights("w", {"dataset": "clinic"}, ["tn3k"]) == []
    assert notes_on_weights("w", {"dataset": "busi", "include_normal": True}, ["bus-uclm", "folder"]) == []
    (organ,) = notes_on_weights("w", {"dataset": "busi"}, ["tn3k", "tn3k"])
    assert "images of the breast (busi), but tn3k shows the thyroid" in organ
    (normal,) = notes_on_weights("w", {"dataset": "busi", "include_normal": False})
    assert "without normal images" in normal
    assert notes_on_weights("w", {"dataset": "refuge", "include_normal": False}) == []
