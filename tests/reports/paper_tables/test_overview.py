"""The verdict and the table of the main networks, from scores written by hand and from the folder results/."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.runs import recipe, write_evaluation, write_run
from fakes.scores import lesion_row, normal_row

from taichinet.reports.document.markdown import document_markdown
from taichinet.reports.document.model import Document, Section
from taichinet.reports.paper_tables.main_networks import table_blocks
from taichinet.reports.paper_tables.overview import Overview, make_overview
from taichinet.reports.paper_tables.results import read_results
from taichinet.reports.paper_tables.runs import KnownGroups, read_methods
from taichinet.reports.paper_tables.sections import make_document
from taichinet.reports.paper_tables.verdict import answer_blocks, verdict_blocks
from taichinet.reports.paper_tables.write import HEADER
from taichinet.reports.results.pages import make_pages

ROOT = Path(__file__).parents[3]


def images(gain: float, spread: float = 0.001, folds: int = 5) -> list[dict[str, object]]:
    """40 images; `gain` is the mean difference from `images(0)`, which varies by image."""
    return [
        lesion_row(f"image {i}", 0.5 + 0.002 * i + gain + spread * (i % 7 - 3) * bool(gain), fold=i % 5)
        for i in range(40)
        if i % 5 < folds
    ]


def overview_of(runs: Path) -> Overview:
    return make_overview(read_methods(runs), KnownGroups(()), resamples=200)


def text_of(overview: Overview) -> str:
    blocks = (*verdict_blocks(overview), *table_blocks(overview))
    return document_markdown(Document("", (), (Section("", "", blocks),)), "")


def test_verdict_compares_taichinet_with_networks_of_the_same_training(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("busi-unet"), images(0))
    write_run(tmp_path, recipe("busi-taichinet"), images(0.05))
    write_run(tmp_path, recipe("busi-attention-unet"), images(0.1, 0.002))
    write_run(tmp_path, recipe("busi-model-6"), images(0.2))  # an ablation
    write_run(tmp_path, recipe("busi-fat-net"), images(0.3, folds=2))  # incomplete
    write_run(tmp_path, recipe("short-taichinet"), images(0.4))  # another training, without a U-Net
    with_normal = recipe("short-unet", name="short-unet+normal", data__include_normal=True)
    write_run(tmp_path, with_normal, [*images(0), *(normal_row(f"n {i}", 9 * (i < 3), i % 5) for i in range(10))])
    text = text_of(overview_of(tmp_path))
    assert "clearly higher Dice in 1 of 1 comparisons" in text
    (point,) = (line for line in text.splitlines() if line.startswith("- BUSI at the paper's settings"))
    assert "(224 px, 40 epochs), 5 grouped folds, 40 lesion images: Dice U-Net 0.539, " in point
    assert "TaiChiNet minus U-Net: +0.050 [+0.0" in point
    assert point.count("higher Dice") == point.count("lower Dice") == 1
    assert "the paper reports U-Net 0.725 ± 0.032, " in text
    assert "TaiChiNet 0.589 (−0.247)" in text
    assert "10 normal images: a lesion is predicted on 30.0 % [10.8, 60.3] with U-Net (`short-unet`)" in text
    assert "| TaiChiNet (`busi-taichinet`) | BUSI | 224 px, 40 epochs |" in text
    assert "model-6" not in text
    assert "FAT-Net" not in text
    assert "2 further runs are not in this table" in text


@pytest.mark.parametrize(
    ("gain", "spread", "reason"),
    [(0.001, 0.02, "no clear difference."), (0.05, 0.001, "higher Dice."), (-0.05, 0.001, "lower Dice.")],
)
def test_reason_agrees_with_interval(tmp_path: Path, gain: float, spread: float, reason: str) -> None:
    write_run(tmp_path, recipe("cpu-unet"), images(0))
    write_run(tmp_path, recipe("cpu-taichinet"), images(gain, spread))
    assert f"], {reason}" in text_of(overview_of(tmp_path))


def test_mean_and_rank_test_that_disagree_are_no_clear_difference(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("cpu-unet"), images(0))
    mostly_lower = [
        lesion_row(f"image {i}", 0.5 + 0.002 * i + (0.3 if i % 4 == 0 else -0.01), fold=i % 5) for i in range(40)
    ]
    write_run(tmp_path, recipe("cpu-taichinet"), mostly_lower)
    text = text_of(overview_of(tmp_path))
    assert "no clear difference: the mean is higher, but Wilcoxon's test does not confirm it (higher on 10 " in text


def test_networks_of_some_folds_on_another_data_set_are_counted(tmp_path: Path) -> None:
    write_evaluation(write_run(tmp_path, recipe("cpu-taichinet"), images(0)), "ddti", images(0.1, folds=1))
    write_evaluation(write_run(tmp_path, recipe("short-unet"), images(0)), "ddti", images(0.2))
    overview = overview_of(tmp_path)
    text = text_of(overview)
    folds = {
        line.split("`")[1]: line.split("|")[-2].strip() for line in text.splitlines() if "tested on DDTI |" in line
    }
    assert folds == {"cpu-taichinet": "1 of 5 grouped folds", "short-unet": "5 grouped folds"}
    answers = document_markdown(Document("", (), (Section("", "", tuple(answer_blocks(overview))),)), "")
    assert "Dice TaiChiNet 0.635, 1 of 5 grouped folds (test folds of BUSI: " in answers


def test_single_incomplete_run_without_scores_has_a_table_and_no_verdict(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe("short-unet"), images(0, folds=1))
    (folder / "scores.csv").unlink()
    text = text_of(overview_of(tmp_path))
    assert "No two networks were tested on the same images" in text
    assert "| U-Net (`short-unet`) | BUSI | 128 px, 4 epochs | 0.535 | 0.485 |  | " in text
    assert "Not compared, because scores.csv is missing: `short-unet`." in text
    folder = write_run(tmp_path, recipe("short-taichinet"), images(0.05, folds=1))
    (folder / "scores.csv").unlink()
    verdict = text_of(overview_of(tmp_path)).partition("|")[0]
    assert "No two networks" not in verdict
    assert "scores.csv, the scores of each image, is missing: `short-unet`, `short-taichinet`." in verdict


def test_pages_of_the_documentation_are_those_of_the_results() -> None:
    pages = make_pages(ROOT / "results", ROOT / "docs/compare/results.md").documents
    pages[ROOT / "docs/compare/tables.md"] = make_document(read_results(ROOT / "results"))
    for path, document in pages.items():
        assert path.read_text(encoding="utf-8") == document_markdown(document, HEADER), (
            f"{path} is not up to date: `taichinet report results -o docs/compare/results.md`, and report.md of "
            "`taichinet report results -o FOLDER`."
        )
