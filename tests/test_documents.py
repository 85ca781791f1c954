"""README and docs: relative links, the shipped weights, the size of images and the quoted cost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import taichinet
from taichinet.inference.shipped import shipped_weights
from taichinet.models.weights import load_weights

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_exists(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    for link in links:
        if not re.match(r"[a-z]+:", link):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_shipped_weights_load_are_small_and_record_their_origin() -> None:
    folder = shipped_weights()
    assert (
        sum(
            path.stat().st_size
            for path in folder.parent.rglob("*")
            if path.is_file() and path.parent.name != "runtimes"
        )
        < 10e6
    )
    config = load_weights(folder).config
    assert config.provenance["dataset"] == "busi+bus-uclm"
    assert config.provenance["seen_images"]
    assert config.decision is not None
    assert "not a medical device" in (folder / "README.md").read_text(encoding="utf-8")


def test_images_of_documents_are_small() -> None:
    for image in (ROOT / "docs" / "images").rglob("*.png"):
        assert image.stat().st_size < 400_000, f"{image.name} is too large; figures for a screen take --dpi 150"


def test_cost_on_cost_page_matches_measured_cost() -> None:
    cost = json.loads((ROOT / "results" / "cost.json").read_text(encoding="utf-8"))
    text = " ".join((ROOT / "docs" / "compare" / "cost.md").read_text(encoding="utf-8").split())
    petaflop = cost["training_pflop"] + cost["preparation_pflop"]
    gpu = cost["one_gpu"]
    assert f"{cost['trainings']} trainings and {cost['preparations']} mining stages, {petaflop:.0f} PFLOP" in text
    assert f"they take {cost['this_machine']['hours'] / 24:.0f} days" in text
    assert (
        f"GPU of {gpu['peak_tflops']:.0f} TFLOPS, of which {100 * gpu['assumed_utilisation']:.0f} % is assumed to be "
        f"reached, {gpu['hours']:.0f} hours" in text
    )


def test_numbers_of_near_duplicates_are_those_of_the_fold_files() -> None:
    text = (ROOT / "docs" / "compare" / "folds.md").read_text(encoding="utf-8")
    divided, leaking = [], []
    for protocol in ("paper", "grouped"):
        path = ROOT / "results" / "folds" / f"busi-lesions-{protocol}-5folds-seed0.json"
        plan = json.loads(path.read_text(encoding="utf-8"))
        groups, fold_of = plan["groups"], plan["fold_of"]
        folds = [{fold_of[key] for key in group} for group in groups]
        divided.append(sum(len(found) > 1 for found in folds))
        leaking.append(sum(len(group) for group, found in zip(groups, folds, strict=True) if len(found) > 1))
    assert f"five folds of the {len(fold_of)} lesion images" in text
    together = sum(map(len, groups))
    assert f"near-duplicates, with {together} images together | {len(groups)} | {len(groups)} |" in text
    assert f"divided between folds | {divided[0]} | {divided[1]} |" in text
    assert f"in another fold | {leaking[0]} ({100 * leaking[0] / len(fold_of):.0f} %) | {leaking[1]} |" in text
    mixed = sum(len({key.split()[0] for key in group}) > 1 for group in groups)
    assert f"In {mixed} of the groups" in text


def test_scores_at_the_top_of_fidelity_are_those_of_results() -> None:
    text = (ROOT / "docs" / "reference" / "fidelity.md").read_text(encoding="utf-8")
    table = [line for line in text[: text.index("##")].splitlines() if line.startswith("|")]
    for row, network in (("Dice of the U-Net", "unet"), ("Dice of TaiChiNet", "taichinet")):
        path = ROOT / "results" / "busi" / f"busi-{network}" / "grouped" / "summary.json"
        dice = json.loads(path.read_text(encoding="utf-8"))["summary"]["groups"][0]["network"]["dice"]
        [line] = [line for line in table if line.startswith(f"| {row} on BUSI |")]
        assert f"{dice['mean']:.3f} ± {dice['std']:.3f} (paper:" in line


def test_api_reference_has_every_public_name() -> None:
    described = re.findall(r"^\.\. auto\w+:: (.+)$", (ROOT / "docs/reference/api.md").read_text(encoding="utf-8"), re.M)
    names = {name.rsplit(".", 1)[1] for name in described}
    assert set(taichinet.__all__) - names == {"__version__"}
