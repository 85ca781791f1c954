"""Which plausible mistakes in losses, metrics, folds, statistics, readers and exports do the tests notice?

    nice -n 10 python benchmarks/mutations.py -o results/benchmarks/mutations.json
    nice -n 10 python benchmarks/mutations.py -o results/benchmarks/mutations.json --again

Each mutation is one replacement in one source file, written by hand: a mistake that changes a published number and
raises no error. It is applied to a temporary copy of `src`, and only the tests named beside it run there. A mutation is
killed if a test fails or the time limit passes, and survives if all pass. `--again` runs only those that are
not in the JSON file yet, or survived, after tests were added: these keep `survived_before`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT = 50  # seconds for the tests of one mutation
PRELOADED = (
    *("numpy", "PIL.Image", "pydantic", "pytest", "safetensors.torch", "scipy.ndimage", "scipy.stats", "timm", "torch"),
    *("torch.utils.flop_counter", "hypothesis", "onnx", "onnxruntime", "onnx.reference", "rich.console"),
    *("typer.testing",),
)

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Mutation:
    """`old`, which occurs once in `file` (below src/taichinet), becomes `new`; `tests` (below tests) must notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _in(file: str, tests: str, *replacements: tuple[str, str]) -> tuple[Mutation, ...]:
    return tuple(Mutation(file, old, new, tuple(tests.split())) for old, new in replacements)


# Single tests, where their whole files take minutes.
_FIT = "training/test_fit.py::test_"
STEPS = f"{_FIT}the_easy_step_takes_its_share_of_the_epochs_and_comes_first"
SELECTION = (
    f"{_FIT}the_printed_rate_is_constant_and_the_cosine_falls_to_a_hundredth "
    f"{_FIT}the_epoch_with_the_best_validation_dice_is_selected_the_earliest_of_equals "
    f"{_FIT}validation_dice_is_the_mean_of_each_images_own_dice "
    f"{_FIT}selection_rewards_silence_on_a_normal_image"
)
SURROUNDINGS = (
    "inference/test_export.py::test_the_files_resizing_is_pillows_within_one_grey_level "
    "inference/test_export.py::test_the_files_way_back_is_pytorchs"
)
PARITY = "inference/test_runtimes.py::test_parity_fails_on_a_dice_cost_or_else_on_masks_that_disagree"

MUTATIONS: tuple[Mutation, ...] = (
    *_in(
        "losses/segmentation.py",
        "losses/test_segmentation.py",
        ("1 - 2 * overlap", "1 - overlap"),
        ("target.square() + probability.square()", "target + probability"),
        ('reduction="none").mean(dim=(-2, -1))', 'reduction="none").sum(dim=(-2, -1))'),
        ("cross_entropy(logits, target)).mean()", "cross_entropy(logits, target)).sum()"),
    ),
    *_in(
        "losses/complementary.py",
        "losses/test_segmentation.py",
        ("opposite_p = 1 - output_p", "opposite_p = output_p - 1"),
        ("squared_error(output_p, opposite_n) / 2", "squared_error(output_p, opposite_n)"),
    ),
    *_in(
        "losses/objective.py",
        "losses/test_objective.py",
        ('step != "easy"', 'step == "hard"'),
        ('"easy": batch.easy, "hard": batch.hard', '"easy": batch.hard, "hard": batch.easy'),
        (
            "region))).mean()",
            "region))).sum() / present.sum().clamp(min=1)",
        ),
        ("(lesion > 0) & (region == 0)", "lesion > 0"),
        ("settings.complementary_weight * complementary_loss(", "complementary_loss("),
        ("settings.negative_weight * segmentation_loss(", "segmentation_loss("),
        ("target = batch.background if sees_background", "target = batch.lesion if sees_background"),
    ),
    *_in(
        "losses/objective.py",
        "experiments/test_distillation.py::test_the_pupils_loss_is_the_cross_entropy_with_the_teacher_added",
        ("settings.taught_weight * cross_entropy(", "cross_entropy("),
    ),
    *_in(
        "losses/auxiliary.py",
        "losses/test_auxiliary.py",
        ("(1 + settings.levels * len(further))", "(1 + len(further))"),
        ("answer.detach().sigmoid()", "answer.sigmoid()"),
        ("- 1 - log_variance).mean() / 2", "- 1 - log_variance).sum(dim=1).mean() / 2"),
    ),
    *_in(
        "evaluation/metrics.py",
        "evaluation/test_metrics.py",
        ("_ratio(tp, tp + fp + fn),  # Eq. 25", "_ratio(tp, 2 * tp + fp + fn),  # Eq. 25"),
        ("_ratio(tp, tp + fn),  # Eq. 28", "_ratio(tp, tp + fp),  # Eq. 28"),
        ("np.percentile(to_true, 95)", "np.percentile(to_true, 90)"),
        ("hd95 = max(", "hd95 = min("),
        ("binary_erosion(mask)", "binary_erosion(mask, np.ones((3, 3)))"),
        ("truth.shape[1] * spacing[1]", "truth.shape[1] * spacing[0]"),
        ("return diagonal, diagonal", "return 0.0, 0.0"),
        ("0.0 if fn and not tp + fp else", "0.0 if not tp + fp else"),
        (
            "float(to_true.sum() + to_predicted.sum()) / (to_true.size + to_predicted.size)",
            "float(to_true.mean() + to_predicted.mean()) / 2",
        ),
    ),
    *_in(
        "evaluation/detection.py",
        "evaluation/test_detection.py",
        ("PEAK_PERCENTILE = 99.9", "PEAK_PERCENTILE = 99"),
    ),
    *_in(
        "evaluation/calibration.py",
        "evaluation/test_calibration.py",
        ("np.digitize(p, _edges(bins)[1:-1])", "np.digitize(p, _edges(bins)[1:-1], right=True)"),
        ("(p <= within[1])", "(p < within[1])"),
        ("sum(self.confidence) - sum(self.lesion_pixels)", "sum(self.lesion_pixels) - sum(self.confidence)"),
        ("BINS = 15", "BINS = 10"),
        ("UNCERTAIN = (0.05, 0.95)", "UNCERTAIN = (0.1, 0.9)"),
    ),
    *_in(
        "evaluation/aggregate.py",
        "evaluation/test_aggregate.py",
        ("means.std(ddof=1)", "means.std(ddof=0)"),
        ("float(means.mean())", "float(rows[column].mean())"),
        (
            '(normal["predicted_pixels"] / normal["pixels"]).mean()',
            'normal["predicted_pixels"].sum() / normal["pixels"].sum()',
        ),
        ("_group(decided, str(region), None, ~found)", "_group(decided, str(region), None, found | ~found)"),
    ),
    *_in(
        "evaluation/undefined.py",
        "evaluation/test_undefined.py evaluation/test_aggregate.py",
        ('& rows["sensitivity_native"].isna()', '| rows["sensitivity_native"].isna()'),
        ("empty & predicts_nothing, reward", "empty, reward"),
    ),
    *_in(
        "evaluation/statistics.py",
        "evaluation/test_statistics.py",
        ("least = max(least, min(1.0, (len(family) - rank) * p))", "least = min(1.0, (len(family) - rank) * p)"),
        ("(len(family) - rank) * p", "len(family) * p"),
    ),
    *_in(
        "evaluation/uncertainty.py",
        "evaluation/test_uncertainty.py",
        ("[(1 - level) / 2, (1 + level) / 2]", "[1 - level, level]"),
        ("sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)", "(sums[drawn] / sizes[drawn]).mean(axis=1)"),
        ("float(sums.sum() / sizes.sum()) if sizes.size", "float((sums / sizes).mean()) if sizes.size"),
        ("spread = here - there", "spread = here + there"),
    ),
    *_in(
        "evaluation/failures.py",
        "evaluation/test_failures.py",
        ("share.quantile(rules.large_quantile)", "share.quantile(1 - rules.large_quantile)"),
        ("(predicted - round(sensitivity * true)) / background", "predicted / background"),
        ("rules.least_answer * true", "rules.least_answer * pixels"),
    ),
    *_in(
        "evaluation/resize.py",
        "inference/test_predictor.py",
        ("align_corners=False", "align_corners=True"),
    ),
    *_in(
        "datasets/folds.py",
        "datasets/test_folds.py",
        ("self.seed + 1000 * (fold + 1)", "self.seed"),
        ("round(1 / validation_share)", "int(1 / validation_share)"),
        ("for key in rest if inner[key] != 0)", "for key in rest if inner[key] > 1)"),
        ('if protocol != "paper":', 'if protocol == "grouped":'),
        ("(*groups, *manifest.patients)", "(*groups, *manifest.patients[1:])"),
        ("tuple(key for key in rest if key not in self.validation)", "tuple(rest)"),
        ("fold_of[keys[row]] = fold", "fold_of[keys[row]] = (fold + 1) % count"),
        ("{number: index for index, number in enumerate(sorted(folds))}", "{number: number for number in folds}"),
    ),
    *_in(
        "datasets/manifest.py",
        "datasets/test_folds.py datasets/readers/test_bus_bra.py",
        ("for keys in members.values() if len(keys) > 1)", "for keys in members.values() if len(keys) > 2)"),
    ),
    *_in(
        "datasets/manifest.py",
        "datasets/readers/test_drishti_gs.py datasets/test_image_io.py",
        ("low: int = 128", "low: int = 129"),
    ),
    *_in(
        "groups.py",
        "test_groups.py",
        ("for other in members[1:]]", "for other in members[2:]]"),
    ),
    *_in(
        "datasets/readers/busi.py",
        "datasets/readers/test_busi.py",
        ("in sorted(self.masks.items()))", "in sorted(self.masks.items())[:1])"),
    ),
    *_in(
        "datasets/readers/bus_bra.py",
        "datasets/readers/test_bus_bra.py",
        ('int(fold["kFold"]) - 1', 'int(fold["kFold"])'),
        ('case["Case"], fold=', "key, fold="),
    ),
    *_in(
        "datasets/readers/bus_uclm.py",
        "datasets/readers/test_bus_uclm.py",
        ("(red > green).any()", "(red > green).all()"),
        ('stem.rpartition("_")[0]', 'stem.partition("_")[2]'),
        ("_RED, _GREEN = 0, 1", "_RED, _GREEN = 1, 0"),
    ),
    *_in(
        "datasets/readers/udiat.py",
        "datasets/readers/test_udiat.py",
        (
            '{"benign": "benign", "malignant": "malignant"}',
            '{"benign": "malignant", "malignant": "benign"}',
        ),
    ),
    *_in(
        "datasets/readers/tn_scui2020.py",
        "datasets/readers/test_tn_scui2020.py",
        ('{"0": "benign", "1": "malignant"}', '{"1": "benign", "0": "malignant"}'),
    ),
    *_in(
        "datasets/readers/tn3k.py",
        "datasets/readers/test_tn3k.py",
        ('["val"])', '["train"])'),
        ('"test": "test"}', '"test": "validation"}'),
    ),
    *_in(
        "datasets/readers/refuge.py",
        "datasets/readers/test_refuge.py",
        ("MaskRule(0, 63)", "MaskRule(0, 128)"),
        ("MaskRule(0, 191)", "MaskRule(64, 191)"),
        ('"n": "non-glaucoma"', '"n": "glaucoma"'),
    ),
    *_in(
        "datasets/readers/drishti_gs.py",
        "datasets/readers/test_drishti_gs.py",
        ('("ODsegSoftmap", "cupsegSoftmap")', '("cupsegSoftmap", "ODsegSoftmap")'),
        ('"NORMAL": "non-glaucoma"', '"NORMAL": "normal"'),
    ),
    *_in(
        "datasets/readers/breast.py",
        "datasets/readers/test_breast.py",
        ('.split("&") if', '.split("&")[:1] if'),
    ),
    *_in(
        "datasets/readers/folder.py",
        "datasets/readers/test_folder.py",
        ("return any(read_mask(", "return all(read_mask("),
        ("if lesion or include_normal", "if lesion or not include_normal"),
    ),
    *_in(
        "datasets/readers/monai.py",
        "datasets/readers/test_monai.py",
        ("image, masks, case.patient, case.part", "image, masks, None, case.part"),
        ('("testing", "test")', '("testing", "train")'),
        ("Mask(file, region, NOT_BACKGROUND)", "Mask(file, 0, NOT_BACKGROUND)"),
    ),
    *_in(
        "datasets/readers/nnunet.py",
        "datasets/readers/test_nnunet.py",
        ("len(validated) == len(folds) and cases", "len(validated) == len(folds) or cases"),
        ("s.part, folds.get(case))", "s.part, folds.get(s.key))"),
        ('for case in split["val"]', 'for case in split["train"]'),
    ),
    *_in(
        "datasets/label_map.py",
        "datasets/test_label_map.py datasets/readers/test_monai.py",
        ("NOT_BACKGROUND = MaskRule(1, 255)", "NOT_BACKGROUND = MaskRule(128, 255)"),
        ("MaskRule(values[0], values[-1])", "MaskRule(values[0], values[0])"),
        ("range(region + 1, len(regions) + 1)", "range(region + 1, region + 2)"),
    ),
    *_in(
        "datasets/prepared.py",
        "datasets/test_prepared.py datasets/test_image_io.py",
        ("Image.Resampling.NEAREST", "Image.Resampling.BOX"),
        ("Image.Resampling.BILINEAR", "Image.Resampling.NEAREST"),
        ("image=self.image[rows].float() / 255", "image=self.image[rows].float() / 256"),
    ),
    *_in(
        "datasets/export/nnunet.py",
        "datasets/test_export.py",
        ("if s.key not in set(validated)]", "]"),
    ),
    *_in(
        "datasets/export/monai.py",
        "datasets/test_export.py",
        ('{"fold": folds[sample.key]}', '{"fold": folds[sample.key] + 1}'),
    ),
    *_in(
        "batch.py",
        "models/test_taichinet.py",
        ('-logits if self.negative_sees == "background"', 'logits if self.negative_sees == "background"'),
    ),
    *_in(
        "models/taichinet/network.py",
        "models/test_taichinet.py",
        ("math.log(prior / (1 - prior))", "math.log((1 - prior) / prior)"),
    ),
    *_in(
        "models/taichinet/complementary_head.py",
        "models/test_taichinet.py",
        ("self._refine(logits_p, refined_n, self.refine_p)", "self._refine(logits_p, logits_n, self.refine_p)"),
    ),
    *_in(
        "models/taichinet/cross_attention.py",
        "models/test_taichinet.py",
        ("k.transpose(1, 2), dim=-1)", "k.transpose(1, 2), dim=1)"),
    ),
    *_in(
        "training/settings.py",
        STEPS,
        ("epoch < round(", "epoch <= round("),
    ),
    *_in(
        "training/fit.py",
        SELECTION,
        ("progress = epoch / max(settings.epochs - 1, 1)", "progress = epoch / settings.epochs"),
        ("dice > state.best_dice", "dice >= state.best_dice"),
        ("float(torch.cat(scores).mean())", "float(torch.stack([s.mean() for s in scores]).mean())"),
    ),
    *_in(
        "training/loop.py",
        "training/test_accumulation.py",
        ("total += value * own.images", "total += value"),
        ("loss * (own.images / count)", "loss"),
    ),
    *_in(
        "training/easy_hard.py",
        "training/test_easy_hard.py",
        ("& lesion & ~easy", "& lesion"),
        ("easy = (first_level > THRESHOLD)", "easy = (fourth_level > THRESHOLD)"),
        ("coarse, *_, fine =", "_, coarse, *_, fine ="),
    ),
    *_in(
        "evaluation/validation.py",
        SELECTION,
        ("torch.where(total > 0, 2 * overlap", "torch.where(total > 0, overlap"),
        ("torch.ones_like(overlap", "torch.zeros_like(overlap"),
        ("probability > THRESHOLD", "probability > 0.4"),
    ),
    *_in(
        "inference/predictor.py",
        "inference/test_predictor.py",
        ("bottom=int(rows[-1]) + 1", "bottom=int(rows[-1])"),
        ("np.ones((3, 3), dtype=np.bool_)", "ndimage.generate_binary_structure(2, 1)"),
        ("area_share=lesion_pixels", "area_share=100 * lesion_pixels"),
        ("height, width = pixels.shape[:2]", "width, height = pixels.shape[:2]"),
    ),
    *_in(
        "inference/outputs.py",
        "cli/test_predict.py inference/test_folder.py",
        ("np.round(values * np.float32(255))", "(values * np.float32(255))"),
    ),
    *_in(
        "inference/export/surroundings.py",
        SURROUNDINGS,
        ("narrowed_whole = Floor (narrowed_half)", "narrowed_whole = Floor (narrowed)"),
        ('"height_pixels", "wanted", antialias=True', '"height_pixels", "wanted", antialias=False'),
        ("(19595, 38470, 7471)", "(7471, 38470, 19595)"),
        ("above = Greater (", "above = GreaterOrEqual ("),
    ),
    *_in(
        "inference/runtimes/parity.py",
        PARITY,
        ("else self.plain_dice - self.dice", "else self.dice - self.plain_dice"),
        ('"int8": 0.995', '"int8": 0.5'),
    ),
    *_in(
        "inference/export/comparison.py",
        PARITY,
        ("float(min(tally.agreements))", "float(max(tally.agreements))"),
    ),
    *_in(
        "experiments/distillation.py",
        "experiments/test_distillation.py::test_the_teacher_is_asked_about_every_training_image_as_it_is",
        (".mul(255).round()", ".mul(255)"),
    ),
)


Job = tuple[tuple[str, ...], Mutation | None]
"""Tests to run, with a mutation or without."""


def run_all(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, int | None, float]]:
    """Each job with pytest's exit code (None past LIMIT) and its seconds, as they end.

    Forked by the one thread of this process: a fork beside other threads may wait for ever for a lock of theirs.
    """
    left, active = list(jobs), dict[Any, tuple[Job, float]]()
    with TemporaryDirectory(prefix="mutations-") as folder:
        while left or active:
            while left and len(active) < workers:
                job = left.pop(0)
                process = _FORK.Process(target=_child, args=(*job, Path(folder) / str(len(left))))
                process.start()
                active[process] = (job, time.perf_counter())
            for process, (job, began) in list(active.items()):
                seconds = time.perf_counter() - began
                if process.is_alive() and seconds <= LIMIT:
                    continue
                code = None if process.is_alive() else process.exitcode
                process.kill()
                process.join()
                del active[process]
                yield job, code, round(seconds, 1)
            time.sleep(0.05)


def _check_unmutated(tests: Iterable[tuple[str, ...]], workers: int) -> None:
    """RuntimeError where tests fail without any mutation: they would count every mutation as killed."""
    jobs: list[Job] = [(one, None) for one in sorted(set(tests))]
    failed = [" ".join(job[0]) for job, code, _ in run_all(jobs, workers) if code != 0]
    if failed:
        raise RuntimeError(f"These tests do not pass without a mutation: {'; '.join(failed)}")


def _mutated(mutation: Mutation | None, folder: Path) -> Path:
    """A copy of `src` in `folder` with the mutation applied."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source)
    if mutation is not None:
        file = source / "taichinet" / mutation.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise ValueError(f"{mutation.file} holds {mutation.old!r} {text.count(mutation.old)} times, not once")
        file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return source


def _child(tests: tuple[str, ...], mutation: Mutation | None, folder: Path) -> None:
    """In a process of its own: run `tests` with the mutated package, and end with pytest's exit code."""
    import pytest

    source = _mutated(mutation, folder)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.environ.pop("TAICHINET_DATA", None)
    os.environ["PYTHONPATH"] = str(source)
    os.chdir(ROOT)
    sys.path[:0] = [str(source), str(ROOT)]
    import taichinet

    if not str(taichinet.__file__).startswith(str(source)):
        raise RuntimeError(f"The tests would run with {taichinet.__file__}, which has no mutation")
    plugins = ("randomly", "cacheprovider", "xdist", "hypothesispytest")
    options = ["-q", "-x", "--assert=plain", "--tb=no", *(f"-pno:{name}" for name in plugins)]
    code = int(pytest.main([*options, *(f"tests/{test}" for test in tests)]))
    shutil.rmtree(folder)
    sys.exit(code if code in (0, 1) else 3)


def _preload() -> None:
    """Import once what every child would import for seconds; never the package itself, which children mutate."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # children must not walk through all of it again


def _commit() -> str:
    git = shutil.which("git") or "git"
    done = subprocess.run([git, "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    """Run the mutations and write what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file")
    parser.add_argument("--again", action="store_true", help="run only what is not killed in that file")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported
    sys.dont_write_bytecode = True
    _preload()
    began = time.perf_counter()
    earlier: dict[tuple[str, str, str], dict[str, Any]] = {}
    if arguments.again:
        rows = json.loads(arguments.output.read_text(encoding="utf-8"))["mutations"]
        earlier = {(row["file"], row["old"], row["new"]): row for row in rows}
    commit = _commit()

    def before(mutation: Mutation) -> dict[str, Any]:
        return earlier.get((mutation.file, mutation.old, mutation.new), {})

    rows = [before(one) for one in MUTATIONS if before(one).get("outcome") == "killed"]
    todo = [one for one in MUTATIONS if before(one).get("outcome") != "killed"]
    _check_unmutated([one.tests for one in todo], arguments.workers)
    for (tests, mutation), code, seconds in run_all([(one.tests, one) for one in todo], arguments.workers):
        assert mutation is not None  # noqa: S101
        outcome = {0: "survived", 1: "killed", None: "timed out"}.get(code, "error")
        print(f"{outcome:9} {seconds:5} s  {mutation.file}: {mutation.old} -> {mutation.new}", flush=True)
        row = {"file": mutation.file, "old": mutation.old, "new": mutation.new, "tests": list(tests)}
        again = before(mutation).get("outcome") == "survived" or before(mutation).get("survived_before", False)
        rows.append({**row, "outcome": outcome, "seconds": seconds, "survived_before": again})
        outcomes = [one["outcome"] for one in rows]
        content = {
            "commit": commit,
            "wall_seconds": round(time.perf_counter() - began, 1),
            "limit_seconds": LIMIT,
            "counts": {name: outcomes.count(name) for name in sorted(set(outcomes))},
            "mutations": rows,
        }
        unfinished = arguments.output.with_suffix(".tmp")  # written after each: a long run may be interrupted
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(arguments.output)


if __name__ == "__main__":
    main()
