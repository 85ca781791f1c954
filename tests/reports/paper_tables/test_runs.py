"""Methods from runs: seeds are pooled, variants and other data sets are separate, damaged files are listed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.runs import recipe, write_evaluation, write_plan, write_run
from fakes.scores import lesion_row, normal_row

from taichinet.errors import DataError, FoldError
from taichinet.reports.paper_tables.runs import Method, read_groups, read_methods
from taichinet.reports.paper_tables.tested import Selection


def two_folds(first: float, second: float, keys: str = "abcd") -> list[dict[str, object]]:
    """Two images per fold, 0.1 around the mean of the fold."""
    dices = ((first - 0.1, 0), (first + 0.1, 0), (second - 0.1, 1), (second + 0.1, 1))
    return [lesion_row(key, dice, fold=fold) for key, (dice, fold) in zip(keys, dices, strict=True)]


def only(folder: Path) -> Method:
    (method,) = read_methods(folder)
    return method


def test_single_run_has_scores_of_its_summary(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), two_folds(0.5, 0.7))
    method = only(tmp_path)
    score = method.score(Selection(), "dice")
    assert score.mean == pytest.approx(0.6)
    assert score.std == pytest.approx(0.02**0.5)
    assert (method.name, method.file.protocol, method.folds_done) == ("short-unet", "grouped", (0, 1))
    assert method.seconds_per_fold == 600


def test_seeds_are_one_method_with_fold_means_over_seeds(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), two_folds(0.5, 0.7))
    write_run(tmp_path, recipe("short-unet", name="short-unet+seed1", training__seed=1), two_folds(0.6, 0.6))
    method = only(tmp_path)
    score = method.score(Selection(), "dice")
    assert len(method.runs) == 2
    assert score.per_fold == pytest.approx({0: 0.55, 1: 0.65})
    assert score.mean == pytest.approx(0.6)
    assert score.std == pytest.approx((0.005) ** 0.5)
    assert method.per_image(Selection()).to_dict() == pytest.approx({"a": 0.45, "b": 0.65, "c": 0.55, "d": 0.75})


def test_changed_setting_is_separate_method(tmp_path: Path) -> None:
    write_run(tmp_path, recipe("short-unet"), two_folds(0.5, 0.7))
    longer = recipe("short-unet", name="short-unet+seed1", training__seed=1, training__epochs=9)
    write_run(tmp_path, longer, two_folds(0.8, 0.9))
    assert [len(method.runs) for method in read_methods(tmp_path)] == [1, 1]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("short-unet++", "short-unet++"),
        ("short-unet+++seed12", "short-unet++"),
        ("short-unet+normal", "short-unet"),
        ("short-unet+++normal+seed3", "short-unet++"),
        ("short-deeplabv3+", "short-deeplabv3+"),
    ],
)
def test_plus_in_network_name_is_no_variant(tmp_path: Path, name: str, base: str) -> None:
    write_run(tmp_path, recipe(base, name=name), two_folds(0.5, 0.7))
    assert only(tmp_path).name == base


def test_repeated_seed_is_rejected(tmp_path: Path) -> None:
    for place in ("here", "there"):
        write_run(tmp_path / place, recipe("short-unet"), two_folds(0.5, 0.7))
    with pytest.raises(DataError, match=r"here.*there.*same seed"):
        read_methods(tmp_path)


def test_weights_on_other_data_are_a_separate_method(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe("short-unet"), two_folds(0.5, 0.7))
    write_evaluation(folder, "udiat", two_folds(0.3, 0.5, keys="wxyz"))
    own, foreign = read_methods(tmp_path)
    assert (own.first.tested_on, foreign.first.tested_on) == ("busi", "udiat")
    assert foreign.score(Selection(), "dice").mean == pytest.approx(0.4)
    assert own.first.study != foreign.first.study


def test_external_images_have_mean_score_over_networks_of_all_folds(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe("short-unet"), two_folds(0.5, 0.7))
    rows = [lesion_row(key, dice, fold=fold) for fold, dice in ((0, 0.3), (1, 0.5)) for key in "xy"]
    write_evaluation(folder, "udiat", rows)
    foreign = read_methods(tmp_path)[1]
    assert foreign.per_image(Selection()).to_dict() == pytest.approx({"x": 0.4, "y": 0.4})
    assert foreign.images(Selection()) == 2
    assert foreign.score(Selection(), "dice").std == pytest.approx(0.02**0.5)


def test_policy_determines_score_of_normal_image(tmp_path: Path) -> None:
    rows = [lesion_row("a", 0.8), normal_row("left", 0), normal_row("alarm", 9)]
    write_run(tmp_path, recipe("short-unet", data__include_normal=True), rows)
    method = only(tmp_path)
    for policy, left in (("paper", 0.0), ("correct-empty-is-1", 1.0)):
        selection = Selection("all", policy)  # type: ignore[arg-type]
        assert method.per_image(selection).to_dict() == {"a": 0.8, "left": left, "alarm": 0.0}
        assert method.score(selection, "dice").mean == pytest.approx((0.8 + left) / 3)
    assert method.images(Selection()) == 1


def test_regions_have_their_own_scores(tmp_path: Path) -> None:
    rows = [lesion_row("a", 0.9) | {"region": "disc"}, lesion_row("a", 0.7) | {"region": "cup"}]
    write_run(tmp_path, recipe("short-unet", options__num_classes=2), rows, protocol="official", dataset="refuge")
    method = only(tmp_path)
    assert method.per_image(Selection("cup", region="cup")).to_dict() == {"a": 0.7}
    assert method.score(Selection("disc", region="disc"), "dice").mean == pytest.approx(0.9)


def test_damaged_evaluation_is_listed(tmp_path: Path) -> None:
    folder = write_run(tmp_path, recipe("short-unet"), two_folds(0.5, 0.7))
    damaged = write_evaluation(folder, "udiat", two_folds(0.3, 0.5)) / "summary.json"
    damaged.write_text('{"networks": [], "summary": {}}', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_methods(tmp_path)
    assert str(damaged) in caught.value.problems[0]


def test_fold_plans_give_clusters_and_leaks(tmp_path: Path) -> None:
    write_plan(tmp_path, {"a": 0, "b": 1, "c": 0, "d": 0}, [["a", "b"], ["c", "d"]], protocol="paper")
    groups = read_groups(tmp_path)
    first, second, third, fourth = groups.clusters("busi", ["a", "c", "d", "b"])
    assert first == fourth != second == third
    assert groups.leaking("digest of busi", "paper", 5, 0, [0]) == 1
    assert groups.leaking("digest of busi", "paper", 5, 0, [0, 1]) == 2
    assert groups.leaking("digest of busi", "grouped", 5, 0, [0]) is None
    assert groups.known("busi")
    assert len(set(groups.clusters("udiat", ["a", "b"]))) == 2


def test_damaged_fold_plan_is_reported(tmp_path: Path) -> None:
    path = write_plan(tmp_path, {"a": 0}, [])
    path.write_text("{", encoding="utf-8")
    with pytest.raises(FoldError, match=path.name):
        read_groups(tmp_path)
