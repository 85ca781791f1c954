"""The written report: same content in all formats, no external resources, escaped texts."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fakes.runs import recipe, write_plan, write_run
from fakes.scores import lesion_row, normal_row

from taichinet.cli.report import report
from taichinet.errors import SettingError
from taichinet.experiments.paper import paper_tables
from taichinet.reports.paper_tables.write import ReportOptions, write_report

HOSTILE = "</script><b>key & co</b>"


class Tables(HTMLParser):
    """Rows of every table as lists of texts, and all external resources of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.fetched: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self._open = True
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href") and value and value[0] != "#"]

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data


def images(shift: float) -> list[dict[str, object]]:
    keys = [f"image {i}" for i in range(19)] + [HOSTILE]
    return [lesion_row(key, 0.5 + shift + 0.02 * (i % 5), fold=i % 5) for i, key in enumerate(keys)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on U-Net and TaiChiNet with both protocols, a run with normal images and one with changed settings."""
    root = tmp_path_factory.mktemp("report")
    runs = root / "runs"
    for protocol, gain in (("grouped", 0.0), ("paper", 0.03)):
        write_run(runs, recipe("short-unet"), images(gain), protocol=protocol)
        write_run(runs, recipe("short-taichinet"), images(0.1 - gain), protocol=protocol)
    with_normal = recipe("short-unet", name="short-unet+normal", data__include_normal=True)
    write_run(runs, with_normal, [*images(0.0), normal_row("n 1", 0), normal_row("n 2", 7)])
    write_run(runs, recipe("short-ce-net", training__epochs=1), images(0.2), inference_seconds_per_image=None)
    write_plan(runs, {f"image {i}": i % 5 for i in range(19)}, [["image 0", "image 5"]])
    write_report(runs, root / "report", ReportOptions(resamples=200))
    return root / "report"


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def long_form(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read(folder, name))))


def test_all_formats_have_the_same_cells(written: Path) -> None:
    page = Tables()
    page.feed(read(written, "index.html"))
    markdown = [
        [re.sub("[`()]", "", cell.strip()) for cell in line.strip("|").split("|")]
        for line in read(written, "report.md").splitlines()
        if line.startswith("|") and not line.startswith("| :--")
    ]
    # Small print is in parentheses in Markdown.
    assert [[re.sub("[()]", "", cell.strip()) for cell in row] for row in page.rows] == markdown
    tex = [
        line.removesuffix(r"\\").split(" & ")
        for line in read(written, "report.tex").splitlines()
        if line.endswith(r"\\") and not line.startswith(r"\multicolumn")
    ]
    assert [len(row) for row in tex] == [len(row) for row in markdown]


def test_every_row_of_the_paper_is_in_its_table(written: Path) -> None:
    csv_rows = long_form(written, "tables.csv")
    for table in paper_tables().values():
        for part in table.parts:
            for row in part.rows:
                lines = [
                    line
                    for line in csv_rows
                    if (line["table"], line["row"], line["trained_on"], line["tested_on"])
                    == (table.name, row.title, part.trained_on, part.tested_on)
                    and (line["with_normal"] == "true") == part.include_normal
                ]
                for place, column in enumerate(part.columns):
                    cells = [
                        line for line in lines if (line["score"], line["region"]) == (column.score, column.region or "")
                    ]
                    assert cells
                    assert {float(cell["paper_mean"]) for cell in cells} == {row.figures[place].mean}


def test_our_columns_are_empty_for_rows_without_run(written: Path) -> None:
    for row in long_form(written, "tables.csv"):
        if not row["recipe"]:
            assert [row[name] for name in ("folds_done", "seeds", "ours_mean", "ours_std", "difference")] == [""] * 5
        else:
            assert float(row["difference"]) == pytest.approx(float(row["ours_mean"]) - float(row["paper_mean"]))
    filled = {row["recipe"] for row in long_form(written, "tables.csv")}
    assert filled == {"", "short-unet", "short-taichinet"}  # CE-Net has changed settings


def test_changed_run_is_listed_with_its_changes(written: Path) -> None:
    text = read(written, "report.md")
    assert "changed settings: training.epochs 1 (recipe: 4)" in text[text.index("## Runs that fill no row") :]


def test_differences_from_the_paper_are_above_each_filled_table(written: Path) -> None:
    text = read(written, "report.md")
    for part in re.split(r"^###? ", text, flags=re.MULTILINE):
        if "| ours | 0" in part:
            assert part.index("size 128 px (paper: 224)") < part.index("| Method |")
            assert part.index("4 epochs (paper: 40)") < part.index("| Method |")


def test_both_policies_are_reported(written: Path) -> None:
    rows = {(r["policy"], r["score"]): r for r in long_form(written, "empty-truths.csv")}
    lesions = float(rows["lesion images only", "dice"]["mean"])
    assert lesions == pytest.approx(0.54)
    assert rows["paper", "dice"]["images"] == "22"
    # Fold 0 has the two normal images and four lesions of 0.5: mean per fold, then over folds.
    others = [0.52, 0.54, 0.56, 0.58]
    assert float(rows["paper", "dice"]["mean"]) == pytest.approx((4 * 0.5 / 6 + sum(others)) / 5)
    assert float(rows["correct-empty-is-1", "dice"]["mean"]) == pytest.approx((5 * 0.6 / 6 + sum(others)) / 5)


def test_leakage_delta_is_paper_minus_grouped(written: Path) -> None:
    differences = {(r["recipe"], r["score"]): float(r["difference"]) for r in long_form(written, "leakage.csv")}
    assert differences["short-unet", "dice"] == pytest.approx(0.03)
    assert differences["short-taichinet", "dice"] == pytest.approx(-0.03)


def test_unmeasured_costs_are_empty(written: Path) -> None:
    costs = {(r["recipe"], r["with_normal"]): r for r in long_form(written, "costs.csv")}
    assert costs["short-unet", "false"]["inference_seconds_per_image"] == "0.0125"
    assert costs["short-ce-net", "false"]["inference_seconds_per_image"] == ""
    assert costs["short-unet", "false"]["training_seconds_per_fold"] == "600.0"
    assert "| 12.5 ms |" in read(written, "report.md")


def test_page_has_no_external_resources_and_data_cannot_end_the_script(written: Path) -> None:
    page = read(written, "index.html")
    parser = Tables()
    parser.feed(page)
    assert parser.fetched == []
    assert "default-src 'none'" in page
    assert "http://www.w3.org/2000/svg" in page  # a namespace, not an address
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []
    assert HOSTILE not in page
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    studies = json.loads(re.search(r"const STUDIES = (.*);\n", script)[1])  # type: ignore[index]
    assert HOSTILE in studies[0]["keys"]


def test_scatter_plot_has_scores_of_every_image(written: Path) -> None:
    (line,) = re.findall(r"const STUDIES = (.*);\n", read(written, "index.html"))
    studies = {study["title"]: study for study in json.loads(line)}
    study = studies["BUSI, grouped folds"]
    assert (study["first"], study["second"]) == ("short-taichinet", "short-unet")
    scores = dict(zip(study["keys"], study["dice"]["short-unet"], strict=True))
    assert scores == {str(row["key"]): pytest.approx(float(str(row["dice"]))) for row in images(0.0)}
    assert study["images"] == {}
    assert "--data" in study["note"]


def test_pair_can_be_chosen_and_unknown_pair_is_rejected(written: Path, tmp_path: Path) -> None:
    runs = written.parent / "runs"
    report(runs, tmp_path / "chosen", pair=("short-ce-net", "short-unet"))
    assert '"first":"short-ce-net","second":"short-unet"' in read(tmp_path / "chosen", "index.html")
    with pytest.raises(SettingError, match="short-unet"):
        report(runs, tmp_path / "x", pair=("short-unett", "short-unet"))


def test_page_options_are_rejected_for_single_file(written: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="folder"):
        report(written.parent / "runs", tmp_path / "results.md", data=["x"])
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=r"is a file"):
        report(written.parent / "runs", tmp_path / "file")
