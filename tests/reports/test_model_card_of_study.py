"""`package-weights STUDY`: weights of the network trained on all images, with the figures of the folds on the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes.study_for_use import (
    DECISIONS,
    MEAN,
    experiment,
    write_all_images,
    write_evaluation_of,
    write_fold,
    write_study,
)
from helpers import same_weights, tiny_network
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from taichinet.cli import app as command_line
from taichinet.errors import DataError, FoldError, SettingError, TaiChiNetError, WeightsError
from taichinet.inference.shipped import shipped_weights
from taichinet.models.weights import load_weights
from taichinet.reports.document.decision import describe_decision
from taichinet.reports.model_card.front_matter import front_matter
from taichinet.reports.model_card.scores import summaries_of

RESULTS = Path(__file__).parents[2] / "results"


def package(*args: object) -> None:
    """Run `taichinet package-weights` without the graph, which the card does not mention; its errors are raised."""
    result = CliRunner().invoke(command_line.app, ["package-weights", "--no-graph", *map(str, args)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


def refused(study: Path, out: Path, error: type[TaiChiNetError], message: str, *args: object) -> None:
    """Check that nothing is written and that the error has the message."""
    with pytest.raises(error, match=message):
        package(study, "--output", out, *args)
    assert not out.exists()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("study")
    study = write_study(root)
    write_evaluation_of(study, study / "on-ddti")
    write_evaluation_of(study, root / "elsewhere", "busi")
    failures = root / "failures.csv"
    failures.write_text(
        "key,class,remark\nbus-uclm/c,shadow,below a mass\nbus-uclm/b,shadow,\nbusi/b,lymph node,axilla | left\n"
    )
    package(study, "--output", root / "packed", "--evaluation", root / "elsewhere", "--failures", failures)
    return (root / "packed/README.md").read_text(encoding="utf-8")


def cells(card: str, *beginning: str) -> list[str]:
    """The cells of the only table row that begins with `beginning`, without these."""
    rows = [[cell.strip() for cell in line.split(" | ")] for line in card.splitlines() if line.startswith("| ")]
    rows = [[row[0].removeprefix("| "), *row[1:-1], row[-1].removesuffix(" |")] for row in rows]
    (found,) = [row for row in rows if row[: len(beginning)] == list(beginning)]
    return found[len(beginning) :]


@pytest.mark.parametrize("option", ["--half", "--full"])
def test_weights_are_those_of_all_images_with_the_decision_of_the_folds(
    study: Path, tmp_path: Path, option: str
) -> None:
    package(study, "--output", tmp_path / "packed", option)
    packed, trained = (load_weights(folder) for folder in (tmp_path / "packed", study / "all-images/weights"))
    expected = trained.network if option == "--full" else tiny_network("unet", seed=2).half().float()
    assert same_weights(packed.network, expected)
    assert packed.config.decision == MEAN.model_dump(mode="json")
    assert f"input 32 x 32 px, {'float16' if option == '--half' else 'float32'}," in (
        tmp_path / "packed/README.md"
    ).read_text(encoding="utf-8")
    package(study / "all-images", "--output", tmp_path / "same", option)
    for name in ("model.safetensors", "README.md"):
        assert (tmp_path / "same" / name).read_bytes() == (tmp_path / "packed" / name).read_bytes()


def test_metadata_are_valid_for_the_hub_and_have_the_scores_of_the_folds(card: str) -> None:
    data: Any = ModelCard(card).data  # raises for an incomplete model-index
    assert (data.license, data.datasets, data.pipeline_tag) == ("other", ["busi", "bus-uclm"], "image-segmentation")
    assert data.model_name == "short-unet"
    found = {(result.dataset_type, result.metric_type): result.metric_value for result in data.eval_results}
    assert found["busi+bus-uclm", "dice"] == 0.3917
    assert found["busi", "dice"] == 0.65
    assert found["busi", "false-positive-rate"] == 1.0
    assert ("bus-uclm", "false-positive-rate") not in found
    names = {result.dataset_name for result in data.eval_results}
    assert "BUSI, 2 images with a lesion, grouped folds" in names


def test_metadata_of_the_card_in_the_package_are_those_of_its_results() -> None:
    names = ("busi", "bus-uclm")
    scores = pd.read_csv(RESULTS / "busi+bus-uclm" / "best-lite" / "grouped" / "scores.csv")
    expected = front_matter("best-lite", names, "grouped", summaries_of(scores, names))
    card = (shipped_weights() / "README.md").read_text(encoding="utf-8")
    assert card.startswith(expected)
    data: Any = ModelCard(card).data
    assert data.model_name == "best-lite"


def test_card_says_whose_figures_it_has(card: str) -> None:
    assert card.startswith("---\nlibrary_name: taichinet\n")
    assert "# U-Net, recipe `short-unet`, trained on all images" in card
    assert (
        card.count("was trained on all images and has no test images. All figures are those of 2 other networks") == 2
    )
    assert "each tested on images that it had not seen (grouped folds)" in card
    assert "1,234 parameters, 0.2 GFLOPs" in card
    assert "not a medical device" in card
    assert "trained on 6 images of BUSI and BUS-UCLM only." in card


def test_card_has_images_licence_and_source_of_each_data_set(card: str) -> None:
    data = card.partition("## Training data")[2].partition("## ")[0]
    licence, source, images = cells(data, "BUSI")
    assert (licence, images) == ("not formally stated by its authors", "3")
    assert source.startswith("https://scholar.cu.edu.eg")
    assert cells(data, "BUS-UCLM")[2] == "3"
    assert "- BUS-UCLM: Vallez, Bueno" in data


def test_card_has_the_training(card: str) -> None:
    assert f"Recipe `short-unet`: {experiment().training.epochs} epochs with batches of" in card
    assert "Commit 3f2c1a9be012, cpu float32 channels-last, A Processor, 2 cores, torch 2.14.1, 90 s." in card


def test_scores_are_means_over_folds_of_all_and_of_each_data_set(card: str) -> None:
    # Fold 0: busi 0.8, bus-uclm 0.4. Fold 1: busi 0.6, bus-uclm 0.2 and 0.
    assert cells(card, "all data sets, 5 images", "Dice") == ["0.433 ± 0.236", "0.392 ± 0.224"]
    assert cells(card, "BUSI, 2 images", "Dice") == ["0.700 ± 0.141", "0.650 ± 0.141"]
    dice, native = cells(card, "BUS-UCLM, 3 images", "Dice")
    assert dice == "0.250 ± 0.212"
    assert native in ("0.212 ± 0.194", "0.213 ± 0.194")  # 0.2125, which other versions of NumPy round to either side
    assert cells(card, "BUS-UCLM, 3 images", "Dice without the presence decision") == ["", "0.275 ± 0.106"]
    assert len(cells(card, "BUSI, 2 images", "Sensitivity")) == 2


def test_detection_has_wilson_intervals_and_strata(card: str) -> None:
    assert cells(card, "BUSI", "2")[0] == "100.0 % [34.2, 100.0]"
    assert "100.0 % [20.7, 100.0]" in cells(card, "BUSI", "2")  # the normal image
    assert cells(card, "BUS-UCLM", "malignant")[1] == "1"
    assert cells(card, "BUSI", "all")[0] == "100.0 %"


def test_calibration_is_that_of_the_folds(card: str) -> None:
    assert cells(card, "ECE of all pixels, test images") == ["0.0200 ± 0.0141"]
    assert cells(card, "ECE of all pixels, validation images, before temperature") == ["0.0400 ± 0.0141"]
    assert "Brier score of all pixels" not in card  # not measured


def test_operating_point_is_in_words_with_its_curve(card: str) -> None:
    for sentence in describe_decision(MEAN):
        assert f"- {sentence}.\n" in card
    assert "is below 0.7\n" not in card
    assert "at least 90 % of the lesion images" in card
    assert cells(card, "Presence threshold", "0.700 ± 0.141") == []
    # Fold 0: 4 lesion and 2 normal images with the shares 0.5 and 0.5 from 0.5 to 0.7; fold 1: 6 and 1.
    assert cells(card, "0.000") == ["100.0 %", "100.0 %"]
    assert cells(card, "0.600") == ["80.0 %", "66.7 %"]
    assert cells(card, "0.700 (this network)") == ["50.0 %", "33.3 %"]
    assert cells(card, "0.800") == ["30.0 %", "0.0 %"]
    assert cells(card, "0.950") == ["0.0 %", "0.0 %"]
    assert card.count("The validation split is small.") == 1


def test_evaluations_in_the_study_and_elsewhere_are_on_the_card(card: str) -> None:
    other = card.partition("## Scores on other data sets")[2].partition("## ")[0]
    assert cells(other, "DDTI, 2 images with a lesion")[:2] == ["0.600", "0.550"]
    assert "BUSI" not in other  # a data set of the training
    shifts = card.partition("## Changed images")[2].partition("## ")[0]
    assert cells(shifts, "DDTI", "gain 0.6") == ["0.400", "−0.100", "25.0 %"]
    assert cells(shifts, "BUSI", "marks") == ["0.480", "−0.020", "25.0 %"]
    assert "gain 1.6" not in shifts


def test_failures_are_counted_by_class(card: str) -> None:
    assert cells(card, "shadow") == ["below a mass", "2", "0.075"]
    assert r"| lymph node | axilla \| left | 1 | 0.550 |" in card


def test_card_without_evaluations_and_failures_has_no_such_sections(study: Path, tmp_path: Path) -> None:
    package(study, "--output", tmp_path / "packed")
    card = (tmp_path / "packed/README.md").read_text(encoding="utf-8")
    assert not any(heading in card for heading in ("## Scores on other", "## Changed images", "## Failures"))


# ------------------------------------------------------------------------------------------------------------ errors


def test_study_without_training_on_all_images_is_refused(tmp_path: Path) -> None:
    study = tmp_path / "runs/busi+bus-uclm/short-unet/grouped"
    write_fold(study, 0)
    command = (
        r"taichinet train short-unet --data busi=PATH --data bus-uclm=PATH --protocol grouped --output \S+/runs "
        "--all-images"
    )
    refused(study, tmp_path / "packed", WeightsError, rf"no complete training on all images.*{command}")
    (study / "all-images").mkdir()  # begun
    refused(study / "all-images", tmp_path / "packed", WeightsError, "no complete training on all images")


def test_study_with_folds_that_are_not_complete_is_refused(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_fold(study, 1, folds=3)
    write_all_images(study, folds=3)
    refused(study, tmp_path / "packed", FoldError, "2 of 3 folds in .* not complete: 0, 2.*--fold 0 --fold 2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": experiment(training__seed=7)}, "training.seed was 0 and is 7 now"),
        ({"dataset_digest": "other"}, "dataset_digest differs"),
    ],
)
def test_training_with_other_settings_than_the_folds_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    study = tmp_path / "study"
    for fold in (0, 1):
        write_fold(study, fold)
    write_all_images(study, **changes)
    refused(study, tmp_path / "packed", FoldError, rf"{message}.*--all-images --overwrite")


@pytest.mark.parametrize(
    ("changes", "folds"),
    [({"decision": DECISIONS[0], "decision_folds": (0,)}, "0"), ({"decision": None, "decision_folds": ()}, "none")],
)
def test_decision_of_some_folds_is_refused(tmp_path: Path, changes: dict[str, object], folds: str) -> None:
    study = tmp_path / "study"
    for fold in (0, 1):
        write_fold(study, fold)
    write_all_images(study, **changes)
    refused(study, tmp_path / "packed", FoldError, rf"is that of folds {folds}, not.*--all-images --resume")


def test_decision_that_the_weights_do_not_have_is_refused(study: Path, tmp_path: Path) -> None:
    path = study / "all-images/weights/config.json"
    config = json.loads(path.read_text())
    config["decision"]["presence"] = 0.1
    path.write_text(json.dumps(config))
    refused(study, tmp_path / "packed", FoldError, r"another decision than training\.json")


@pytest.mark.parametrize("folds", [(0,), (0, 1, 2)])
def test_evaluation_of_other_networks_is_refused(study: Path, tmp_path: Path, folds: tuple[int, ...]) -> None:
    if len(folds) == 3:
        (study / "fold-2").symlink_to(study / "all-images")
    elsewhere = write_evaluation_of(study, tmp_path / "elsewhere", folds=folds)
    message = "1 of the 2 networks of the folds and 0 others" if len(folds) == 1 else "2 of the 2 .* and 1 others"
    refused(study, tmp_path / "packed", WeightsError, message, "--evaluation", elsewhere)
    refused(study, tmp_path / "packed", WeightsError, r"No summary\.json", "--evaluation", tmp_path / "absent")
    elsewhere.rename(study / "on-ddti")  # found without the option
    refused(study, tmp_path / "packed", WeightsError, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("key,class\nbusi/b,shadow\n", "no column remark"),
        ("key,class,remark\nbusi/x,shadow,\n", "busi/x: not a test image"),
        ("key,class,remark\nbusi/b,,\n", "busi/b: no class"),
        ("key,class,remark\nbusi/b,shadow,\nbusi/b,shadow,\n", "busi/b: more than one row"),
        ("key,class,remark\n", "one row with a class"),
        ("", "cannot be read"),
    ],
)
def test_faults_of_the_failures_are_reported(study: Path, tmp_path: Path, content: str, message: str) -> None:
    failures = tmp_path / "failures.csv"
    failures.write_text(content)
    refused(study, tmp_path / "packed", DataError, message, "--failures", failures)


def test_options_of_studies_are_refused_for_a_fold(study: Path, tmp_path: Path) -> None:
    args = ("--failures", tmp_path / "failures.csv")
    refused(study / "fold-0", tmp_path / "packed", SettingError, "fold-0 has no folds", *args)
    refused(tmp_path, tmp_path / "packed", WeightsError, "folder of one completed fold.*or of a cross-validation")
