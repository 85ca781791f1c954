"""Markdown tables, cell by cell, from summaries written by hand and from a summary of `aggregate`."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from taichinet.cli.report import report
from taichinet.errors import DataError
from taichinet.evaluation.aggregate import aggregate
from taichinet.evaluation.undefined import SCORES
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.catalogue import (
    busi_taichinet,
    cpu_taichinet,
    demo_taichinet,
    get_recipe,
    list_recipes,
)
from taichinet.experiments.records import StudyRecord
from taichinet.reports.document.markdown import document_markdown
from taichinet.reports.paper_tables.differences import differences_from_paper
from taichinet.reports.paper_tables.runs import find_summaries, find_trained_on_all
from taichinet.reports.paper_tables.write import HEADER
from taichinet.reports.results.all_runs import all_runs_document
from taichinet.reports.results.pages import make_pages
from taichinet.reports.results.trainings import trainings_document

COMMIT = "3f2c1a9be012"


def group(name: str, policy: str | None, images: int, dice: float, std: float | None = 0.012) -> dict[str, Any]:
    """All scores except the distances are `dice`, and 0.1 lower at the original size."""

    def at(base: float) -> dict[str, Any]:
        overlap = {score: {"mean": base, "std": std, "per_fold": {"0": base}} for score in SCORES}
        return overlap | {"hd95": {"mean": 21.26, "std": 3.04}, "assd": {"mean": 6.5, "std": None}}

    images_per_fold = {"0": images}
    return {"group": name, "policy": policy, "images": images, "images_per_fold": images_per_fold} | {
        "network": at(dice),
        "native": at(dice - 0.1),
    }


def content(experiment: Experiment, folds_done: tuple[int, ...] = (0, 1, 2, 3, 4), **changes: Any) -> dict[str, Any]:
    groups = [
        group("lesion", None, 647, 0.7251),
        group("benign", None, 437, 0.75),
        group("malignant", None, 210, 0.67),
    ]
    normal: dict[str, Any] = {"images": 0, "false_positive_rate": None, "mean_false_positive_area": None}
    if experiment.data.include_normal:
        groups[1:1] = [group("all", "paper", 780, 0.601), group("all", "correct-empty-is-1", 780, 0.701)]
        groups += [group("normal", "paper", 133, 0.0), group("normal", "correct-empty-is-1", 133, 0.55)]
        normal = {"images": 133, "false_positive_rate": 0.4511, "mean_false_positive_area": 0.01234}
    return {
        "experiment": experiment.model_dump(mode="json"),
        "dataset": "busi",
        "dataset_digest": "d1",
        "protocol": "grouped",
        "folds": 5,
        "folds_done": list(folds_done),
        "fold_seed": 0,
        "parameters": 4_590_000,
        "gflops": 4.153,
        "placement": "cpu bf16 channels-last",
        "wall_seconds": 8130.0,
        "commit": COMMIT,
        "machine": {
            "processor": "A Processor",
            "cores": 2,
            "memory_gib": 8,
            "accelerator": None,
            "torch": "2.13.0",
        },
        "per_fold": [{"fold": k, "wall_seconds": 1626.0, "commit": COMMIT} for k in folds_done],
        "summary": {"deviation": "ddof=1", "groups": groups, "normal_images": normal},
    } | changes


def write(folder: Path, summary: dict[str, Any]) -> Path:
    path: Path = folder / summary["experiment"]["name"] / summary["protocol"] / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary), encoding="utf-8")
    return path


def write_trained_on_all(summary: Path, experiment: Experiment, **changes: Any) -> Path:
    """Write a complete training on all images beside `summary`."""
    decision = {"temperature": 1.1, "threshold": 0.4, "presence": 0.7}
    own = {"identity": "0", "images": 1647, "decision": decision, "decision_folds": [0, 1, 2, 3, 4]}
    path = summary.parent / "all-images" / "training.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content(experiment) | own | changes), encoding="utf-8")
    return path


def tables(text: str) -> dict[str, list[dict[str, str]]]:
    """Rows of the table under each heading of the third level."""
    rows_by_heading: dict[str, list[dict[str, str]]] = {}
    heading = ""
    head: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            heading, head = line.lstrip("# "), []
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not head:
                head = cells
            elif not cells[0].startswith(":-"):
                rows_by_heading.setdefault(heading, []).append(dict(zip(head, cells, strict=True)))
    return rows_by_heading


def markdown(*summaries: dict[str, Any]) -> str:
    results = [StudyRecord.model_validate(summary) for summary in summaries]
    return document_markdown(all_runs_document(results), HEADER)


def trainings(*summaries: dict[str, Any]) -> str:
    return document_markdown(trainings_document([StudyRecord.model_validate(summary) for summary in summaries]), HEADER)


def test_lesion_row_has_all_values_of_the_run() -> None:
    (row,) = tables(markdown(content(cpu_taichinet())))["Images with a lesion"]
    assert row == {
        "Network": "TaiChiNet",
        "Recipe": "`cpu-taichinet`",
        "Folds": "5 folds, grouped",
        "Images": "647",
        **dict.fromkeys(("DI", "JA", "ACC", "PR", "SE"), "0.725 ± 0.012"),
        "DI native": "0.625 ± 0.012",
        "HD95 (px)": "21.3 ± 3.0",
        "ASSD (px)": "6.5",
    }
    (row,) = tables(trainings(content(cpu_taichinet())))["Cost"]
    assert row == {
        "Network": "TaiChiNet",
        "Recipe": "`cpu-taichinet`",
        "Folds": "5 folds, grouped",
        "Parameters": "4,590,000",
        "GFLOPs": "4.15",
        "Wall time": "2 h 16 min",
        "Commit": f"`{COMMIT}`",
    }


def test_incomplete_study_has_number_of_folds() -> None:
    (row,) = tables(markdown(content(get_recipe("cpu-unet"), folds_done=(0, 2, 4))))["Images with a lesion"]
    assert row["Network"] == "U-Net"
    assert row["Folds"] == "3 of 5 folds, grouped"


def test_each_commit_of_a_study_is_listed_once() -> None:
    records = [{"fold": k, "commit": commit} for k, commit in enumerate(("aaa", "bbb", "aaa"))]
    (row,) = tables(trainings(content(get_recipe("cpu-unet"), per_fold=records)))["Cost"]
    assert row["Commit"] == "`aaa`, `bbb`"


def test_missing_values_are_empty_cells() -> None:
    summary = content(get_recipe("cpu-unet"), wall_seconds=None, commit=None, per_fold=[])
    summary["summary"]["groups"][0]["network"]["dice"] = {"mean": None, "std": None}
    (row,) = tables(markdown(summary))["Images with a lesion"]
    assert row["DI"] == ""
    (row,) = tables(trainings(summary))["Cost"]
    assert (row["Wall time"], row["Commit"]) == ("", "")
    summary["summary"]["groups"] = []
    (row,) = tables(markdown(summary))["Images with a lesion"]
    assert (row["Images"], row["JA"], row["ASSD (px)"]) == ("", "", "")


def test_tables_with_normal_images_have_both_policies_and_false_positives() -> None:
    by_heading = tables(markdown(content(demo_taichinet())))
    assert [(row["Empty ground truth scores"], row["DI"]) for row in by_heading["All images"]] == [
        ("0, as the paper", "0.601 ± 0.012"),
        ("1 if left empty", "0.701 ± 0.012"),
    ]
    (normal,) = by_heading["Normal images"]
    assert (normal["Images"], normal["With any false positive"]) == ("133", "45.1 %")
    assert normal["Mean false-positive area"] == "1.23 %"
    assert [row["Class or region"] for row in by_heading["By class and region"]][:2] == ["benign", "malignant"]


def test_no_tables_of_normal_images_without_normal_images() -> None:
    by_heading = tables(markdown(content(cpu_taichinet())))
    assert list(by_heading) == ["Images with a lesion", "By class and region"]
    assert [row["Images"] for row in by_heading["By class and region"]] == ["437", "210"]


def test_data_set_with_and_without_normal_images_has_two_sections() -> None:
    text = markdown(content(cpu_taichinet()), content(demo_taichinet()))
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## BUSI, without normal images",
        "## BUSI, with normal images",
    ]


def test_heading_omits_normal_images_for_data_sets_without_them() -> None:
    text = markdown(content(cpu_taichinet(), dataset="ddti"))
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## DDTI"]


def test_data_sets_with_same_name_and_different_images_have_separate_sections() -> None:
    text = markdown(content(cpu_taichinet()), content(get_recipe("cpu-unet"), dataset_digest="d2"))
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## BUSI, without normal images (images `d1`)",
        "## BUSI, without normal images (images `d2`)",
    ]


def test_recipes_of_the_paper_have_no_differences() -> None:
    assert differences_from_paper(busi_taichinet()) == []
    assert differences_from_paper(get_recipe("busi-unet")) == []
    text = trainings(content(busi_taichinet()), content(get_recipe("busi-unet")))
    assert "- All recipes: 1/8 of the training images held out for validation" in text
    assert "- `busi-taichinet`, `busi-unet`: none further" in text


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_can_be_described(name: str) -> None:
    assert all(f"`{name}`" in page(content(get_recipe(name))) for page in (markdown, trainings))


def test_summary_of_aggregate_is_read() -> None:
    scores = dict.fromkeys(SCORES, 0.5) | {f"{name}_native": 0.25 for name in SCORES}
    undefined = {
        f"{name}{size}": nan for name in ("dice", "jaccard", "precision", "sensitivity") for size in ("", "_native")
    }
    rows = [
        {
            "key": "a",
            "label": "benign",
            "fold": 0,
            "predicted_pixels": 3,
            "true_pixels": 4,
            "pixels": 9,
            **scores,
        },
        {"key": "b", "label": "normal", "fold": 0, "predicted_pixels": 0, "true_pixels": 0, "pixels": 9}
        | scores
        | undefined,
    ]
    summary = aggregate(pd.DataFrame(rows)).model_dump(mode="json")
    by_heading = tables(markdown(content(demo_taichinet(), folds_done=(0,), summary=summary)))
    assert by_heading["Images with a lesion"][0]["DI"] == "0.500"
    assert [row["DI"] for row in by_heading["All images"]] == ["0.250", "0.750"]
    assert by_heading["Normal images"][0]["With any false positive"] == "0.0 %"


def test_summaries_below_folder_are_sorted(tmp_path: Path) -> None:
    write(tmp_path / "b", content(get_recipe("cpu-unet")))
    write(tmp_path / "a", content(cpu_taichinet(), protocol="paper"))
    write(tmp_path / "a", content(cpu_taichinet()))
    names = [(summary.experiment.name, summary.protocol) for summary in list(find_summaries(tmp_path).values())]
    assert names == [("cpu-taichinet", "grouped"), ("cpu-unet", "grouped"), ("cpu-taichinet", "paper")]


def test_summaries_of_evaluations_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, content(get_recipe("cpu-unet")))
    other = {"weights": "runs/x", "note": "", "summary": content(get_recipe("cpu-unet"))["summary"]}
    (tmp_path / "summary.json").write_text(json.dumps(other), encoding="utf-8")
    assert len(list(find_summaries(tmp_path).values())) == 1


def test_folder_without_summaries_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Give the --output folder"):
        list(find_summaries(tmp_path).values())


def test_damaged_summaries_are_listed_with_their_problems(tmp_path: Path) -> None:
    truncated = write(tmp_path / "a", content(get_recipe("cpu-unet")))
    truncated.write_text(truncated.read_text(encoding="utf-8")[:200], encoding="utf-8")
    lacking = content(cpu_taichinet())
    del lacking["parameters"]
    incomplete = write(tmp_path / "b", lacking)
    unknown = content(cpu_taichinet(), protocol="paper")
    unknown["experiment"]["model"] = "unett"
    invalid_model = write(tmp_path / "c", unknown)
    with pytest.raises(DataError) as caught:
        list(find_summaries(tmp_path).values())
    first, second, third = caught.value.problems
    assert str(truncated) in first
    assert str(incomplete) in second
    assert "parameters" in second
    assert str(invalid_model) in third
    assert "unett" in third


def test_command_writes_file_with_do_not_edit_header(tmp_path: Path) -> None:
    write(tmp_path / "runs", content(cpu_taichinet()))
    out = tmp_path / "docs" / "results.md"
    report(tmp_path / "runs", out)
    text = out.read_text(encoding="utf-8")
    assert text.splitlines()[0] == HEADER
    assert "Generated by `taichinet report`; do not edit" in HEADER
    pages = make_pages(tmp_path / "runs", out).documents
    assert list(pages)[-1] == out
    for path, document in pages.items():
        assert path.read_text(encoding="utf-8") == document_markdown(document, HEADER)
        assert path == out or f"]({path.name})" in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "`cpu-unet` (grouped): 1,647 images; its decision is the mean of those of all folds"),
        ({"decision_folds": [1, 3]}, "1,647 images; its decision is the mean of those of folds 1, 3 of 5"),
        ({"decision_folds": [2]}, "1,647 images; its decision is the mean of those of fold 2 of 5"),
        ({"decision": None}, "1,647 images; threshold 0.5"),
    ],
)
def test_network_for_use_is_listed_below_the_scores_of_its_folds(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    recipe = get_recipe("cpu-unet")
    write(tmp_path / "runs", content(cpu_taichinet()))
    write_trained_on_all(write(tmp_path / "runs", content(recipe)), recipe, **changes)
    report(tmp_path / "runs", tmp_path / "results.md")
    text = (tmp_path / "results-trainings.md").read_text(encoding="utf-8")
    _, listed = text.split("### Networks for use")
    (point,) = (row for row in listed.splitlines() if row.startswith("- "))
    assert point.endswith(line)


@pytest.mark.parametrize("changes", [{"dataset_digest": "d2"}, {"protocol": "paper"}, {"fold_seed": 1}])
def test_network_for_use_of_other_images_or_folds_is_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    recipe = get_recipe("cpu-unet")
    write_trained_on_all(write(tmp_path, content(recipe)), recipe, **changes)
    assert find_trained_on_all(find_summaries(tmp_path)) == []


def test_network_for_use_of_other_settings_is_left_out(tmp_path: Path) -> None:
    recipe = get_recipe("cpu-unet")
    write_trained_on_all(write(tmp_path, content(recipe)), vary(recipe, {"training.epochs": 1}))
    assert find_trained_on_all(find_summaries(tmp_path)) == []


def test_damaged_record_of_network_for_use_is_named(tmp_path: Path) -> None:
    recipe = get_recipe("cpu-unet")
    path = write_trained_on_all(write(tmp_path, content(recipe)), recipe)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"training\.json.*Train it again with --all-images --overwrite"):
        find_trained_on_all(find_summaries(tmp_path))
