"""Comparisons with a baseline that the user chooses: which runs are compared, on which images, and the verdicts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from fakes.runs import Rows, recipe, write_evaluation, write_run
from fakes.scores import lesion_row

from taichinet.errors import DataError, FoldError, SettingError
from taichinet.experiments.experiment import vary
from taichinet.reports.paper_tables.against import verdict_sentence
from taichinet.reports.paper_tables.comparisons import Against, compare_against
from taichinet.reports.paper_tables.evaluations import read_evaluation
from taichinet.reports.paper_tables.runs import read_groups, read_methods
from taichinet.reports.paper_tables.write import ReportOptions, write_report

OWN = vary(recipe("cpu-unet"), {"name": "own-MyNet", "options.width": 8})
DICE = [0.5 + 0.01 * number for number in range(40)]


def rows(added: float | Sequence[float] = 0.0, folds: int = 5) -> Rows:
    """Forty images in five folds."""
    more = [added] * len(DICE) if isinstance(added, float) else added
    table = [lesion_row(f"image {n}", dice + more[n], fold=n % 5) for n, dice in enumerate(DICE)]
    return [row for row in table if int(str(row["fold"])) < folds]


def against(runs: Path, name: str, *scores: str) -> Against:
    methods = [*read_methods(runs), *(read_evaluation(spec) for spec in scores)]
    return compare_against(methods, name, read_groups(runs), resamples=200)


def verdicts(result: Against) -> dict[str, str]:
    return {comparison.method.name: comparison.verdict for comparison in result.comparisons}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A better and a worse network, one with the same mean, and the baseline."""
    folder = tmp_path / "runs"
    write_run(folder, recipe("cpu-unet"), rows())
    write_run(folder, OWN, rows([0.05 + 0.001 * (n % 7) for n in range(40)]))
    write_run(folder, recipe("cpu-rf-net"), rows([-0.05 - 0.001 * (n % 7) for n in range(40)]))
    write_run(folder, recipe("cpu-ce-net"), rows([0.1 if n % 2 else -0.1 for n in range(40)]))
    return folder


def test_verdict_is_higher_lower_or_unclear_with_corrected_p(runs: Path) -> None:
    result = against(runs, "unet")
    assert result.reference == "cpu-unet"
    assert verdicts(result) == {"own-MyNet": "higher", "cpu-rf-net": "lower", "cpu-ce-net": "unclear"}
    for comparison in result.comparisons:
        assert comparison.test.p <= comparison.p_holm
        assert (comparison.test.images, comparison.folds) == (40, (0, 1, 2, 3, 4))
    assert max(comparison.p_holm / comparison.test.p for comparison in result.comparisons) == pytest.approx(3)


def test_same_difference_on_every_image_has_no_interval_and_the_sentence_says_so(tmp_path: Path) -> None:
    for own, dice in ((recipe("cpu-unet"), 0.25), (OWN, 0.75)):
        write_run(tmp_path, own, [lesion_row(f"image {n}", dice, fold=n % 5) for n in range(40)])
    (comparison,) = against(tmp_path, "unet").comparisons
    sentence = verdict_sentence(comparison)
    assert "difference +0.500, p (Holm) < 0.001, 40 images. No verdict without an interval" in sentence


def test_own_network_can_be_the_baseline(runs: Path) -> None:
    assert verdicts(against(runs, "own-MyNet"))["cpu-unet"] == "lower"


def test_only_folds_that_both_have_completed_are_compared(runs: Path) -> None:
    write_run(runs, recipe("cpu-fat-net"), rows(0.05, folds=2))
    (comparison,) = [c for c in against(runs, "unet").comparisons if c.method.name == "cpu-fat-net"]
    assert (comparison.folds, comparison.test.images) == ((0, 1), 16)


def test_other_images_and_folds_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("cpu-unet"), rows())
    write_run(tmp_path, recipe("cpu-rf-net"), [{**row, "fold": (int(str(row["fold"])) + 1) % 5} for row in rows()])
    write_run(tmp_path, recipe("cpu-ce-net"), rows(), dataset_digest="of other images")
    with pytest.raises(FoldError, match="Nothing can be compared with 'cpu-unet'") as caught:
        against(tmp_path, "unet")
    text = str(caught.value)
    assert "--output.\n  - cpu-ce-net: other" in text or "--output.\n  - cpu-rf-net: other" in text
    assert "cpu-rf-net: other folds: image 'image 0' is in fold 1 and with the reference in fold 0" in text
    assert "cpu-ce-net: other images of BUSI" in text
    write_run(tmp_path, OWN, rows(0.1))
    assert {method.name for method, _ in against(tmp_path, "unet").refused} == {"cpu-rf-net", "cpu-ce-net"}


def test_name_must_be_that_of_one_method(runs: Path) -> None:
    with pytest.raises(SettingError, match="Did you mean 'cpu-unet'"):
        against(runs, "cpu-unt")
    write_run(runs, recipe("short-unet"), rows())
    with pytest.raises(SettingError, match="ambiguous: there are cpu-unet and short-unet"):
        against(runs, "unet")
    write_run(runs / "again", recipe("cpu-unet", training__epochs=3), rows())
    with pytest.raises(SettingError, match=r"cpu-unet is ambiguous: .*again.* have different settings"):
        against(runs, "cpu-unet")


def test_joint_and_single_training_are_not_compared(runs: Path) -> None:
    joint = write_run(runs, recipe("cpu-fat-net"), rows(), dataset="busi+folder")
    write_evaluation(joint, "busi", rows())
    assert {m.name: why for m, why in against(runs, "unet").refused} == {
        "cpu-fat-net": "trained on BUSI + Own folder, the reference on BUSI"
    }


@pytest.fixture
def scores(runs: Path, tmp_path: Path) -> Path:
    """What `score` writes for masks that are a little better than those of the baseline."""
    folder = write_evaluation(tmp_path / "study", "busi", rows([0.03 + 0.001 * (n % 5) for n in range(40)]))
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {
        "dataset_digest": "digest of busi",
        "networks": [{"model": "nnU-Net", "trained": {"protocol": "grouped"}}],
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return Path(shutil.move(folder, tmp_path / "nnunet-scores"))


def test_scored_masks_are_compared_under_the_chosen_name(runs: Path, scores: Path) -> None:
    assert verdicts(against(runs, "unet", f"{scores}"))["nnU-Net"] == "higher"
    assert verdicts(against(runs, "My masks", f"My masks={scores}"))["own-MyNet"] == "higher"


def test_report_has_both_sections_and_their_values(runs: Path, scores: Path, tmp_path: Path) -> None:
    options = ReportOptions(evaluations=[read_evaluation(f"masks={scores}")], against="unet", resamples=50)
    write_report(runs, tmp_path / "report", options)
    page = (tmp_path / "report" / "report.md").read_text()
    assert "`own-MyNet` has a higher Dice than `cpu-unet`: difference +0.053 [" in page
    assert "No clear difference of the Dice between `cpu-ce-net` and `cpu-unet`" in page
    assert "## Other predictions and evaluations" in page
    tests = pd.read_csv(tmp_path / "report" / "against.csv").set_index("method")
    assert tests.loc["masks", "verdict"] == "higher"
    assert tests.loc["masks", "reference"] == "cpu-unet"
    named = pd.read_csv(tmp_path / "report" / "evaluations.csv")
    dice = named.query("group == 'lesion' and score == 'dice' and resolution == 'native'")["mean"]
    assert dice.item() == pytest.approx(sum(DICE) / 40 + 0.032 - 0.05, abs=1e-3)


def test_folder_without_an_evaluation_and_repeated_names_are_refused(runs: Path, scores: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no summary\.json"):
        read_evaluation(str(tmp_path / "absent"))
    with pytest.raises(DataError, match="Give trainings as RUNS"):
        read_evaluation(str(runs / "busi" / "cpu-unet" / "grouped"))
    with pytest.raises(SettingError, match="cannot be the name"):
        read_evaluation(f"={scores}")
    with pytest.raises(SettingError, match="Two results are called 'cpu-unet'"):
        write_report(runs, tmp_path / "out", ReportOptions(evaluations=[read_evaluation(f"cpu-unet={scores}")]))
