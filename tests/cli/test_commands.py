"""Run train, evaluate, report and package-weights from the command line; rejected arguments and exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fakes.ddti import make_fake_ddti
from fakes.drishti_gs import make_fake_drishti_gs
from PIL import Image
from typer.testing import CliRunner

from taichinet.cli import app as command_line
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, FoldError, SettingError, WeightsError
from taichinet.experiments.training_run import RUN_IMAGES
from taichinet.inference.runtimes.choose import open_runtime
from taichinet.inference.runtimes.eager import Eager
from taichinet.inference.runtimes.parity import PACKAGED_GRAPH, PACKAGED_RECORD, read_record
from taichinet.models.weights import load_weights
from taichinet.storage.digest import digest_file

TINY = {
    "options.width": 2,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.25,
    "training.epochs": 2,
    "mining.epochs": 1,
    "mining.width": 2,
}


def run(*args: object) -> str:
    """Standard output of `taichinet ARGS`; errors of the command are raised."""
    result = CliRunner().invoke(command_line.app, [str(arg) for arg in args], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def settings(**changes: object) -> list[str]:
    return [arg for key, value in {**TINY, **changes}.items() for arg in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 8, seed=1, size=(96, 128))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs")
    printed = run("train", "cpu-taichinet", "--data", data, "--output", out, "--json", *settings())
    return out, json.loads(printed)


def test_train_without_fold_trains_all_folds_and_prints_json(trained: tuple[Path, dict[str, Any]]) -> None:
    out, printed = trained
    folder = out / "busi" / "cpu-taichinet" / "grouped"
    assert Path(printed["folder"]) == folder
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["folds_done"] == [0, 1]
    assert summary["summary"] == printed["summary"]
    scores = pd.read_csv(folder / "scores.csv")
    assert scores["key"].is_unique
    assert len(scores) == 22  # lesions only: the recipe leaves normal images out
    assert all((folder / f"fold-{fold}" / name).exists() for fold in (0, 1) for name in RUN_IMAGES)


def test_existing_fold_is_rejected_and_unchanged(trained: tuple[Path, dict[str, Any]], data: Path) -> None:
    out, _ = trained
    before = (out / "busi/cpu-taichinet/grouped/fold-0/result.json").read_bytes()
    with pytest.raises(FoldError, match=r"--resume.*--overwrite.*--output"):
        run("train", "cpu-taichinet", "--data", data, "--output", out, "--fold", 0, *settings())
    assert (out / "busi/cpu-taichinet/grouped/fold-0/result.json").read_bytes() == before


def test_resuming_finished_folds_trains_nothing(trained: tuple[Path, dict[str, Any]], data: Path) -> None:
    out, printed = trained
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    again = json.loads(
        run("train", "cpu-taichinet", "--data", data, "--output", out, "--resume", "--json", *settings())
    )
    assert again == printed
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


def test_evaluating_a_study_reproduces_its_scores(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    out, printed = trained
    study = out / "busi/cpu-taichinet/grouped"
    again = json.loads(run("evaluate", study, "--data", data, "--output", tmp_path, "--json"))
    assert again["summary"] == printed["summary"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), pd.read_csv(study / "scores.csv"), atol=1e-5)


def test_evaluating_one_fold_scores_only_images_not_used_in_training(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    out, _ = trained
    run("evaluate", out / "busi/cpu-taichinet/grouped/fold-1", "--data", data, "--output", tmp_path)
    images = json.loads((out / "busi/cpu-taichinet/grouped/fold-1/weights/training_images.json").read_text())
    seen = {*images["train_keys"], *images["validation_keys"]}
    scored = set(pd.read_csv(tmp_path / "scores.csv")["key"])
    assert scored
    assert not scored & seen
    counts = json.loads((tmp_path / "summary.json").read_text())["images"]
    assert (counts["used"], counts["skipped"]) == (len(scored), len(seen) + 8)
    assert counts["why"] == ["8 normal, not requested", f"{len(seen)} used to train or select the weights"]


def test_images_of_another_data_set_with_the_same_names_are_scored(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, _ = trained
    other = write_phantom_busi(tmp_path / "other", 12, 10, 8, seed=2, size=(96, 128))
    run("evaluate", out / "busi/cpu-taichinet/grouped/fold-0", "--data", other, "--output", tmp_path / "scores")
    assert len(pd.read_csv(tmp_path / "scores/scores.csv")) == 22


def test_study_on_another_data_set_has_one_fold_per_network(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    study = trained[0] / "busi/cpu-taichinet/grouped"
    other = write_phantom_busi(tmp_path / "other", 5, 4, 2, seed=2, size=(96, 128))
    run("evaluate", study, "--data", other, "--normal", "--output", tmp_path / "both")
    alone = []
    for fold in sorted(study.glob("fold-*")):
        run("evaluate", fold, "--data", other, "--normal", "--output", tmp_path / fold.name)
        alone.append(json.loads((tmp_path / fold.name / "summary.json").read_text())["summary"]["groups"][0])
    record = json.loads((tmp_path / "both/summary.json").read_text())
    (lesion,) = (group for group in record["summary"]["groups"] if group["group"] == "lesion")
    means = [group["network"]["dice"]["mean"] for group in alone]
    assert len(means) > 1
    assert lesion["images"] == 9
    assert record["summary"]["normal_images"]["images"] == 2
    assert lesion["network"]["dice"]["mean"] == pytest.approx(sum(means) / len(means))
    assert list(lesion["network"]["dice"]["per_fold"].values()) == pytest.approx(means)
    assert [network["trained"]["fold"] for network in record["networks"]] == list(range(len(means)))
    assert str(tmp_path) not in json.dumps(record)


def test_networks_with_the_same_held_out_images_are_rejected(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    for name in ("fold-0", "fold-1"):
        shutil.copytree(trained[0] / "busi/cpu-taichinet/grouped/fold-0", tmp_path / "study" / name)
    with pytest.raises(FoldError, match="Choose one network"):
        run("evaluate", tmp_path / "study", "--data", data)


def test_renamed_training_images_are_recognised(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    out, _ = trained
    fold = out / "busi/cpu-taichinet/grouped/fold-0"
    seen = json.loads((fold / "weights/training_images.json").read_text())["train_keys"]
    other = tmp_path / "other"
    for label in ("benign", "malignant", "normal"):
        (other / label).mkdir(parents=True)
    key = next(key for key in seen if key.startswith("benign"))
    for name, source in (("1", key), ("2", "normal (1)")):
        folder = data / source.split()[0]
        shutil.copy(folder / f"{source}.png", other / f"benign/benign ({name}).png")
        shutil.copy(folder / f"{source}_mask.png", other / f"benign/benign ({name})_mask.png")
    for label in ("malignant", "normal"):
        shutil.copy(data / "normal/normal (2).png", other / f"{label}/{label} (1).png")
        shutil.copy(data / "normal/normal (2)_mask.png", other / f"{label}/{label} (1)_mask.png")
    run("evaluate", fold, "--data", other, "--normal", "--output", tmp_path / "scores")
    assert "benign (1)" not in set(pd.read_csv(tmp_path / "scores/scores.csv")["key"])


def test_re_encoded_training_images_are_recognised_by_pixels(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    fold = trained[0] / "busi/cpu-taichinet/grouped/fold-0"
    other = tmp_path / "other"
    shutil.copytree(data, other)
    for path in other.glob("*/*.png"):
        if "_mask" not in path.name:
            Image.open(path).save(path, compress_level=1)
            assert path.read_bytes() != (data / path.relative_to(other)).read_bytes()
    run("evaluate", fold, "--data", data, "--output", tmp_path / "as distributed")
    run("evaluate", fold, "--data", other, "--output", tmp_path / "saved again")
    first, second = (pd.read_csv(tmp_path / name / "scores.csv") for name in ("as distributed", "saved again"))
    assert first["key"].tolist() == second["key"].tolist()
    note = json.loads((tmp_path / "saved again/summary.json").read_text())["note"]
    assert "compared by file bytes and decoded pixels; near-duplicates: 0 found by thumbnails" in note

    old = tmp_path / "old"
    shutil.copytree(fold / "weights", old)
    config = json.loads((old / "config.json").read_text())
    config["provenance"] |= json.loads((old / "training_images.json").read_text())
    del config["provenance"]["training_images"], config["provenance"]["seen_pixels"]
    (old / "training_images.json").unlink()
    (old / "config.json").write_text(json.dumps(config))
    run("evaluate", old, "--data", other, "--output", tmp_path / "from old weights")
    note = json.loads((tmp_path / "from old weights/summary.json").read_text())["note"]
    assert "not checked beyond file bytes" in note
    assert "near-duplicates: not checked" in note
    assert "none of them" not in note


def test_near_duplicates_across_own_folds_are_counted_and_scored(tmp_path: Path) -> None:
    data = write_phantom_busi(tmp_path / "data", 12, 10, 2, seed=1, size=(96, 128))
    for number in (1, 3, 5):
        image = Image.open(data / f"benign/benign ({number}).png").convert("L")
        image.point(lambda value: int(0.7 * value + 9)).save(data / f"benign/benign ({number + 1}).png")
        shutil.copy(data / f"benign/benign ({number})_mask.png", data / f"benign/benign ({number + 1})_mask.png")
    args = ("--data", data, "--protocol", "paper", "--fold", 0, "--output", tmp_path / "runs")
    run("train", "cpu-unet", *args, *settings(**{"training.epochs": 1}))
    fold = tmp_path / "runs/busi/cpu-unet/paper/fold-0"
    run("evaluate", fold, "--data", data, "--output", tmp_path / "scores")
    assert set(pd.read_csv(tmp_path / "scores/scores.csv")["key"]) == set(pd.read_csv(fold / "scores.csv")["key"])
    record = json.loads((tmp_path / "scores/summary.json").read_text())
    near = record["networks"][0]["near_duplicates"]
    assert near
    assert set(near) <= {f"benign ({number})" for number in range(1, 7)}
    assert f"near-duplicates: {len(near)} found by thumbnails, which are scored" in record["note"]


def test_changed_copies_of_training_images_are_skipped_if_thumbnails_exist(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    fold = trained[0] / "busi/cpu-taichinet/grouped/fold-0"
    images = json.loads((fold / "weights/training_images.json").read_text())
    data = Path(write_phantom_busi(tmp_path / "same", 12, 10, 8, seed=1, size=(96, 128)))
    copied = [key for key in images["train_keys"] if key.startswith("benign")][:3]
    other = write_phantom_busi(tmp_path / "other", 6, 4, 2, seed=2, size=(96, 128))
    changes = {"resized": (160, 120), "darkened": 0.7, "re-encoded": None}
    for number, (key, change) in enumerate(zip(copied, changes.values(), strict=True), start=1):
        image = Image.open(data / "benign" / f"{key}.png").convert("L")
        mask: Image.Image = Image.open(data / "benign" / f"{key}_mask.png")
        if isinstance(change, tuple):
            image, mask = image.resize(change), mask.resize(change, Image.Resampling.NEAREST)
        elif change is not None:
            image = image.point(lambda value: int(0.7 * value + 9))
        else:
            image.save(tmp_path / "x.jpg", quality=60)
            image = Image.open(tmp_path / "x.jpg")
        image.save(other / f"benign/benign ({number}).png")
        mask.save(other / f"benign/benign ({number})_mask.png")
    copies = [f"benign ({number})" for number in (1, 2, 3)]

    run("evaluate", fold, "--data", other, "--output", tmp_path / "scores")
    assert not set(copies) & set(pd.read_csv(tmp_path / "scores/scores.csv")["key"])
    record = json.loads((tmp_path / "scores/summary.json").read_text())
    assert record["networks"][0]["near_duplicates"] == copies
    assert "near-duplicates: 3 found by thumbnails and left out" in record["note"]
    assert (record["images"]["used"], record["images"]["skipped"]) == (7, 5)

    # A folder with only the weights has no thumbnails of the training images.
    shutil.copytree(fold / "weights", tmp_path / "sent/weights")
    run("evaluate", tmp_path / "sent/weights", "--data", other, "--output", tmp_path / "unchecked")
    assert set(copies) <= set(pd.read_csv(tmp_path / "unchecked/scores.csv")["key"])
    record = json.loads((tmp_path / "unchecked/summary.json").read_text())
    assert record["networks"][0]["near_duplicates"] == "not checked"
    assert "near-duplicates: not checked" in record["note"]


def test_other_settings_are_rejected_unless_all_folds_are_overwritten(data: Path, tmp_path: Path) -> None:
    args = ("train", "cpu-unet", "--data", data, "--output", tmp_path, "--json")
    small = settings()
    run(*args, *small, "--fold", 0)
    with pytest.raises(FoldError, match="another experiment"):
        run(*args, *small, "--set", "training.epochs=1", "--fold", 1)
    assert not (tmp_path / "busi/cpu-unet/grouped/fold-1").exists()
    run(*args, *small, "--set", "training.epochs=1", "--overwrite")
    summary = json.loads((tmp_path / "busi/cpu-unet/grouped/summary.json").read_text())
    assert summary["folds_done"] == [0, 1]
    assert summary["experiment"]["training"]["epochs"] == 1


def test_resuming_with_more_epochs_prints_one_line_and_matches_full_run(data: Path, tmp_path: Path) -> None:
    args = ["train", "cpu-unet", "--data", data, "--fold", 0, "--json", *settings()]
    args += ["--set", "training.schedule=constant"]
    for out, epochs, more in (("grown", 2, ()), ("grown", 3, ("--resume",)), ("undisturbed", 3, ())):
        command = [*args, "--output", tmp_path / out, "--set", f"training.epochs={epochs}", *more]
        done = CliRunner().invoke(command_line.app, [str(arg) for arg in command], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        line = "Extends the training to 3 epochs: fold-0 from 2 of 2.\n"
        assert done.stderr.count("Extends") == (1 if more else 0)
        assert (line in done.stderr) is bool(more)
    for file in ("scores.csv", "fold-0/weights/model.safetensors", "fold-0/scores.csv"):
        grown, undisturbed = (tmp_path / out / "busi/cpu-unet/grouped" / file for out in ("grown", "undisturbed"))
        assert grown.read_bytes() == undisturbed.read_bytes(), file
    summary = json.loads((tmp_path / "grown/busi/cpu-unet/grouped/summary.json").read_text())
    assert summary["experiment"]["training"]["epochs"] == 3


def test_summary_counts_false_positives_on_normal_images(trained: tuple[Path, dict[str, Any]], data: Path) -> None:
    out, _ = trained
    weights = out / "busi/cpu-taichinet/grouped/fold-0/weights"
    summary = json.loads(run("evaluate", weights, "--data", data, "--normal", "--json"))["summary"]
    assert summary["normal_images"]["images"] == 8
    policies = {group["policy"] for group in summary["groups"] if group["group"] == "all"}
    assert policies == {"paper", "correct-empty-is-1"}


def test_report_contains_dice_and_settings_of_the_study(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, printed = trained
    run("report", out, "--output", tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    lesion = next(group for group in printed["summary"]["groups"] if group["group"] == "lesion")
    assert f"{lesion['network']['dice']['mean']:.3f}" in text
    assert "size 32 px (paper: 224)" in (tmp_path / "results-trainings.md").read_text()


def test_packed_weights_are_smaller_and_have_a_model_card(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    out, _ = trained
    fold = out / "busi/cpu-taichinet/grouped/fold-0"
    run("package-weights", fold, "--output", tmp_path)
    packed, full = (folder / "model.safetensors" for folder in (tmp_path, fold / "weights"))
    assert packed.stat().st_size < 0.7 * full.stat().st_size
    record = read_record(tmp_path / PACKAGED_RECORD)
    assert record.holds
    assert record.weights_digest == digest_file(packed)
    loaded = load_weights(tmp_path)
    batch = np.random.default_rng(0).integers(0, 256, (2, loaded.channels, 32, 32), dtype=np.uint8)
    graph = open_runtime("auto", loaded, tmp_path)
    assert graph.description.name == "onnx"
    np.testing.assert_allclose(graph.maps(batch).lesion, Eager(loaded.network).maps(batch).lesion, atol=1e-5)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "not a medical device" in card
    assert "size 32 px (paper: 224)" in card
    result = json.loads((fold / "result.json").read_text())
    lesion = next(group for group in result["summary"]["groups"] if group["group"] == "lesion")
    assert f"| Dice | {lesion['network']['dice']['mean']:.3f} |" in card
    run("pack", fold, "--output", tmp_path / "former-name")
    assert (tmp_path / "former-name/model.safetensors").read_bytes() == packed.read_bytes()
    with pytest.raises(WeightsError, match="completed fold"):
        run("package-weights", tmp_path, "--output", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    run("package-weights", fold / "weights", "--output", tmp_path / "by-weights")
    assert (tmp_path / "by-weights/README.md").read_text(encoding="utf-8") == card


def test_model_card_escapes_user_supplied_names(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    fold = tmp_path / "fold-0"
    shutil.copytree(trained[0] / "busi/cpu-taichinet/grouped/fold-0", fold)
    result = json.loads((fold / "result.json").read_text())
    hostile = "x<script>alert(1)</script>\n# h [l](javascript:1)"
    result |= {"dataset": hostile, "placement": hostile, "commit": hostile}
    (fold / "result.json").write_text(json.dumps(result))
    run("package-weights", fold, "--output", tmp_path / "packed", "--no-graph")
    assert not (tmp_path / "packed" / PACKAGED_GRAPH).exists()
    card = (tmp_path / "packed/README.md").read_text(encoding="utf-8")
    assert "x&lt;script>" in card
    assert not any(part in card for part in ("<script", "</script", "\n# h", "](javascript"))


@pytest.mark.parametrize("key", ["summary", "images", "experiment", "selection"])
def test_damaged_result_is_not_packed(trained: tuple[Path, dict[str, Any]], tmp_path: Path, key: str) -> None:
    fold = tmp_path / "fold-0"
    shutil.copytree(trained[0] / "busi/cpu-taichinet/grouped/fold-0", fold)
    result = json.loads((fold / "result.json").read_text())
    (fold / "result.json").write_text(json.dumps({**result, key: {}}))
    with pytest.raises(WeightsError, match=rf"cannot be read: {key}\..*Give the folder of one completed fold"):
        run("package-weights", fold, "--output", tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (["cpu-taichine"], SettingError, "Did you mean 'cpu-taichinet'"),
        (["cpu-unet", "--protocol", "group"], SettingError, "Did you mean 'grouped'"),
        (["cpu-unet", "--set", "training.epoch=3"], SettingError, "Did you mean 'training.epochs'"),
        (["cpu-unet", "--set", "training.epochs=0"], SettingError, "training.epochs = 0"),
        (["best-lite", "--set", "data.size=112"], SettingError, "multiples of 32: set data.size=96 or data.size=128"),
        (["cpu-unet", "--fold", "5"], SettingError, r"0\.\.4"),
        (["cpu-unet", "--resume", "--overwrite"], SettingError, "cannot be used together"),
    ],
)
def test_invalid_train_arguments_raise_before_data_are_read(
    args: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        run("train", *args, "--data", tmp_path / "nowhere", "--output", tmp_path)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["train", "cpu-unet", "--data", "nowhere"], 3),
        (["train", "no-recipe", "--data", "nowhere"], 4),
        (["evaluate", "nowhere", "--data", "nowhere"], 5),
        (["train"], 2),
        (["--help"], 0),
    ],
)
def test_exit_code_depends_on_error_and_no_traceback_is_printed(
    args: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["taichinet", *args])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    assert stopped.value.code == code
    assert "Traceback" not in capsys.readouterr().err


def test_help_imports_no_heavy_library() -> None:
    probe = (
        "import sys, taichinet.cli.app; print(sorted({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------- other data sets, cards


def test_train_and_evaluate_nested_regions_on_official_split(tmp_path: Path) -> None:
    data = make_fake_drishti_gs(tmp_path)
    official = settings(**{"training.batch_size": 2, "data.validation_share": 0.5})
    args = ("train", "cpu-taichinet", "--data", data, "--protocol", "official", "--output", tmp_path / "runs")
    printed = json.loads(run(*args, "--json", *official))
    study = tmp_path / "runs/drishti-gs/cpu-taichinet/official"
    assert Path(printed["folder"]) == study
    groups = {group["group"] for group in printed["summary"]["groups"]}
    assert {"disc", "cup"} <= groups
    scores = pd.read_csv(study / "scores.csv")
    parts = {sample.key: sample.part for sample in open_dataset(data)}
    assert {parts[key] for key in scores["key"]} == {"test"}
    assert list(scores["region"].unique()) == ["disc", "cup"]
    config = json.loads((study / "fold-0/weights/config.json").read_text())
    assert config["options"]["num_classes"] == 2
    again = json.loads(run("evaluate", study, "--data", data, "--json"))
    assert again["summary"] == printed["summary"]
    with pytest.raises(WeightsError, match=r"2 region\(s\), but ddti has 1"):
        run("evaluate", study, "--data", f"ddti={make_fake_ddti(tmp_path / 'other')}")


def test_data_set_with_ambiguous_layout_requires_its_name(tmp_path: Path) -> None:
    data = make_fake_ddti(tmp_path).rename(tmp_path / "unnamed")
    with pytest.raises(DataError, match="ddti="):
        run("train", "cpu-unet", "--data", data, "--output", tmp_path / "runs", *settings())
    run("train", "cpu-unet", "--data", f"ddti={data}", "--fold", 1, "--output", tmp_path / "runs", *settings())
    assert (tmp_path / "runs/ddti/cpu-unet/grouped/fold-1/result.json").is_file()


def test_unavailable_protocol_is_rejected(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FoldError, match="no official split"):
        run("train", "cpu-unet", "--data", data, "--protocol", "official", "--output", tmp_path, *settings())
    with pytest.raises(SettingError, match="Did you mean 'official'"):
        run("train", "cpu-unet", "--data", data, "--protocol", "offical", "--output", tmp_path, *settings())


@pytest.mark.parametrize("name", ["card.html", "card.md"])
def test_validation_card_is_written_for_one_network_on_another_data_set(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path, name: str
) -> None:
    out, _ = trained
    other = write_phantom_busi(tmp_path / "other", 4, 4, 2, seed=5, size=(96, 128))
    fold = out / "busi/cpu-taichinet/grouped/fold-0"
    run("evaluate", fold, "--data", other, "--normal", "--card", tmp_path / name)
    card = (tmp_path / name).read_text(encoding="utf-8")
    assert "not a medical device" in card
    assert "cpu-taichinet" in card
    assert ("data:image/png" in card) == (name == "card.html")
    with pytest.raises(SettingError, match="--card needs a single network, but 2 were evaluated"):
        run("evaluate", fold.parent, "--data", data, "--card", tmp_path / name)
    with pytest.raises(SettingError, match=r"\.html for a page or \.md"):
        run("evaluate", fold, "--data", other, "--card", tmp_path / "card.pdf")
