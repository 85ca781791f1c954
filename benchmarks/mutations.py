"""Apply plausible mistakes to losses, metrics, folds, statistics, readers and exports, and run their tests.

    nice -n 10 python benchmarks/mutations.py -o results/benchmarks/mutations.json
    nice -n 10 python benchmarks/mutations.py -o results/benchmarks/mutations.json --only datasets/folds.py
    nice -n 10 python benchmarks/mutations.py -o results/benchmarks/mutations.json --again

Each mutation is one replacement in one source file, written by hand: a mistake that changes a published number and
raises no error. It is applied to a temporary copy of `src`, and only the tests named beside it run there, in a process
of their own. A mutation is killed if a test fails, and survives if all pass. The same tests run once without a mutation
before; where they do not pass, their mutations are not run, and the exit code is 1.

The file is written after every result. What has a result there from the same commit is not run again, so an interrupted
run continues; results of files that differ from the commit are not kept. `--again` also keeps the mutations killed at
other commits: only survivors run, after tests were added, and keep `survived_before`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from taichinet.storage.atomic import write_json

ROOT = Path(__file__).parents[1]
CPU_LIMIT = 120  # seconds of processor time: seconds of the clock are many more on a machine with other work
CLOCK_LIMIT = 600  # for tests that wait for ever and use no processor time


@dataclass(frozen=True)
class Mutation:
    """`old`, which occurs once in `file` (below src/taichinet), becomes `new`; `tests` (below tests) must fail."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _in(file: str, tests: str, *replacements: tuple[str, str]) -> tuple[Mutation, ...]:
    return tuple(Mutation(file, old, new, tuple(tests.split())) for old, new in replacements)


# Single tests, where their whole files take minutes.
_FIT = "training/test_fit.py::test_"
STEPS = f"{_FIT}easy_step_is_first_and_has_its_share_of_epochs"
SELECTION = (
    f"{_FIT}default_rate_is_constant_and_cosine_decreases_to_one_percent "
    f"{_FIT}first_epoch_with_best_validation_dice_is_selected "
    f"{_FIT}validation_dice_is_mean_over_images "
    f"{_FIT}empty_prediction_of_normal_image_has_dice_one"
)
SURROUNDINGS = (
    "inference/test_export.py::test_resizing_equals_pillow_within_one_grey_level "
    "inference/test_export.py::test_resizing_of_output_equals_pytorch"
)
PARITY = "inference/test_runtimes.py::test_parity_fails_on_dice_loss_or_different_masks"

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
        "experiments/test_distillation.py::test_student_loss_adds_cross_entropy_with_teacher",
        ("settings.taught_weight * cross_entropy(", "cross_entropy("),
    ),
    *_in(
        "losses/auxiliary.py",
        "losses/test_auxiliary.py",
        ("(1 + settings.levels * len(further))", "(1 + len(further))"),
        ("output.detach().sigmoid()", "output.sigmoid()"),
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
        ("mask.shape[1] * spacing[1]", "mask.shape[1] * spacing[0]"),
        ("return _diagonal(truth, spacing), _diagonal(truth, spacing)", "return 0.0, 0.0"),
        ("0.0 if fn and not tp + fp else", "0.0 if not tp + fp else"),
        (
            "float(to_true.sum() + to_predicted.sum()) / (to_true.size + to_predicted.size)",
            "float(to_true.mean() + to_predicted.mean()) / 2",
        ),
    ),
    *_in(
        "evaluation/confidence.py",
        "evaluation/test_confidence.py",
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
        ("None, ~empty_ground_truth(part))", "None, pd.Series(True, index=part.index))"),
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
        ("largest = max(largest, min(1.0, (len(family) - rank) * p))", "largest = min(1.0, (len(family) - rank) * p)"),
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
        "evaluation/masks.py",
        "test_light_installation.py",
        ("* float(scale) - 0.5", "* float(scale)"),
        ("diagonal=True", "diagonal=False"),
    ),
    *_in(
        "evaluation/metrics.py",
        "evaluation/test_detection.py",
        ("np.ones((3, 3), dtype=np.bool_)", "np.eye(3, dtype=np.bool_)"),
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
        "datasets/sample.py",
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
        "datasets/readers/paired.py",
        "datasets/readers/test_udiat.py",
        (
            '{"benign": "benign", "malignant": "malignant"}',
            '{"benign": "malignant", "malignant": "benign"}',
        ),
    ),
    *_in(
        "datasets/readers/paired.py",
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
        "datasets/readers/fundus.py",
        "datasets/readers/test_refuge.py",
        ("MaskRule(0, 63)", "MaskRule(0, 128)"),
        ("MaskRule(0, 191)", "MaskRule(64, 191)"),
        ('"n": "non-glaucoma"', '"n": "glaucoma"'),
    ),
    *_in(
        "datasets/readers/fundus.py",
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
        ("return any(reading.files.mask(", "return all(reading.files.mask("),
        ("if lesion or reading.include_normal", "if lesion or not reading.include_normal"),
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
        ("fold=folds.get(case))", "fold=folds.get(samples_by_case[case].key))"),
        ('for case in split["val"]', 'for case in split["train"]'),
    ),
    *_in(
        "datasets/interchange/label_map.py",
        "datasets/interchange/test_label_map.py datasets/readers/test_monai.py",
        ("NOT_BACKGROUND = MaskRule(1, 255)", "NOT_BACKGROUND = MaskRule(128, 255)"),
        ("MaskRule(values[0], values[-1])", "MaskRule(values[0], values[0])"),
        ("range(region + 1, len(regions) + 1)", "range(region + 1, region + 2)"),
    ),
    *_in(
        "datasets/image_io.py",
        "datasets/test_prepared.py datasets/test_image_io.py",
        ("Image.Resampling.NEAREST", "Image.Resampling.BOX"),
        ("Image.Resampling.BILINEAR", "Image.Resampling.NEAREST"),
    ),
    *_in(
        "datasets/prepared.py",
        "datasets/test_prepared.py",
        ("image=self.image[rows].float() / 255", "image=self.image[rows].float() / 256"),
    ),
    *_in(
        "datasets/interchange/export.py",
        "datasets/interchange/test_export.py",
        ("if s.key not in set(validated)]", "]"),
    ),
    *_in(
        "datasets/interchange/export.py",
        "datasets/interchange/test_export.py",
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
        ("math.log(probability / (1 - probability))", "math.log((1 - probability) / probability)"),
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
        ("dice > state.best_dice", "dice >= state.best_dice"),
        ("float(torch.cat(scores).mean())", "float(torch.stack([s.mean() for s in scores]).mean())"),
    ),
    *_in(
        "training/optimizer.py",
        SELECTION,
        ("max(settings.epochs - 1 - warmup, 1)", "(settings.epochs - warmup)"),
    ),
    *_in(
        "training/loop.py",
        f"{_FIT}train_epoch_equals_plain_pytorch_loop",
        ("value * count for value, count", "value for value, count"),
    ),
    *_in(
        "training/loop.py",
        "training/test_accumulation.py",
        (" * (own.images / len(whole.image))", ""),
    ),
    *_in(
        "training/easy_hard.py",
        "training/test_easy_hard.py",
        ("& lesion & ~easy", "& lesion"),
        ("easy = (first_level > THRESHOLD)", "easy = (fourth_level > THRESHOLD)"),
        ("coarse, *_, fine =", "_, coarse, *_, fine ="),
    ),
    *_in(
        "evaluation/metrics.py",
        SELECTION,
        ("torch.where(total > 0, 2 * overlap", "torch.where(total > 0, overlap"),
        ("torch.ones_like(overlap", "torch.zeros_like(overlap"),
        ("probability > VALIDATION_THRESHOLD", "probability > 0.4"),
    ),
    *_in(
        "inference/predictor.py",
        "inference/test_predictor.py",
        ("bottom=int(rows[-1]) + 1", "bottom=int(rows[-1])"),
        ("area_share=lesion_pixels", "area_share=100 * lesion_pixels"),
        ("height, width = pixels.shape[:2]", "width, height = pixels.shape[:2]"),
    ),
    *_in(
        "inference/outputs.py",
        "cli/test_predict.py inference/test_folder.py",
        ("np.round(values * np.float32(255))", "(values * np.float32(255))"),
    ),
    *_in(
        "inference/export/processing.py",
        SURROUNDINGS,
        ("narrowed_whole = Floor (narrowed_half)", "narrowed_whole = Floor (narrowed)"),
        ('"height_pixels", "wanted", antialias=True', '"height_pixels", "wanted", antialias=False'),
        ("(19595, 38470, 7471)", "(7471, 38470, 19595)"),
    ),
    *_in(
        "inference/export/processing.py",
        "test_runner.py::test_probability_at_the_threshold_is_background",
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
        "inference/test_comparison.py",
        ("float(min(tally.agreements))", "float(max(tally.agreements))"),
    ),
    *_in(
        "experiments/distillation.py",
        "experiments/test_distillation.py::test_teacher_predicts_every_training_image_without_augmentation",
        (".mul(255).round()", ".mul(255)"),
    ),
)


def run(tests: Sequence[str], mutation: Mutation | None = None) -> dict[str, Any]:
    """The outcome and the seconds of `tests` on a copy of `src`, with the mutation applied if there is one."""
    began = time.perf_counter()
    with TemporaryDirectory(prefix="mutation-") as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source)
        if mutation is not None:
            _apply(mutation, source)
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        environment.pop("TAICHINET_DATA", None)
        plugins = ("randomly", "cacheprovider", "xdist")
        options = ["-q", "-x", "--assert=plain", "--tb=no", *(f"-pno:{name}" for name in plugins)]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT + 5))
        try:
            code = process.wait(CLOCK_LIMIT)
        except subprocess.TimeoutExpired:
            code = -signal.SIGXCPU
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that tests started
                process.wait()
    passed, failed = ("passed", "failed") if mutation is None else ("survived", "killed")
    outcome = {0: passed, 1: failed, -signal.SIGXCPU: "timed out"}.get(code, "error")
    return {"outcome": outcome, "seconds": round(time.perf_counter() - began, 1)}


def _apply(mutation: Mutation, source: Path) -> None:
    file = source / "taichinet" / mutation.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} contains {mutation.old!r} {text.count(mutation.old)} times, not once")
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


class Record:
    """The JSON file: the outcome of every set of tests without a mutation, and of every mutation."""

    def __init__(self, path: Path, commit: str | None, again: bool = False) -> None:
        self.path, self.commit = path, commit
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.baseline = [row for row in content.get("baseline", ()) if self._is_current(row)]
        self._earlier = {_name(row): row for row in content.get("mutations", ())}
        self.mutations = [
            row for row in self._earlier.values() if self._is_current(row) or (again and row["outcome"] == "killed")
        ]

    def _is_current(self, row: dict[str, Any]) -> bool:
        return self.commit is not None and row["commit"] == self.commit and row["outcome"] != "error"

    def add_baseline(self, tests: tuple[str, ...], result: dict[str, Any]) -> None:
        """Record the outcome of `tests` without a mutation."""
        self.baseline.append({"tests": list(tests), **result, "commit": self.commit})
        self._write()

    def add(self, mutation: Mutation, result: dict[str, Any]) -> None:
        """Record the outcome of `mutation`."""
        row = {"file": mutation.file, "old": mutation.old, "new": mutation.new, "tests": list(mutation.tests)}
        before = self._earlier.get(_name(row), {})
        survived = before.get("outcome") == "survived" or before.get("survived_before", False)
        self.mutations.append({**row, **result, "commit": self.commit, "survived_before": survived})
        self._write()

    def passing(self) -> set[tuple[str, ...]]:
        """The sets of tests that pass without a mutation."""
        return {tuple(row["tests"]) for row in self.baseline if row["outcome"] == "passed"}

    def missing(self, mutations: Sequence[Mutation]) -> list[Mutation]:
        """Those of `mutations` that have no row."""
        done = {_name(row) for row in self.mutations}
        return [one for one in mutations if (one.file, one.old, one.new) not in done]

    def _write(self) -> None:
        outcomes = [row["outcome"] for row in self.mutations]
        content = {
            "cpu_limit_seconds": CPU_LIMIT,
            "counts": {name: outcomes.count(name) for name in sorted(set(outcomes))},
            "baseline": self.baseline,
            "mutations": self.mutations,
        }
        write_json(self.path, content)


def _name(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["file"], row["old"], row["new"]


def _run_all(jobs: Sequence[tuple[tuple[str, ...], Mutation | None]], workers: int) -> Iterator[Any]:
    """Every job with its result, in the order of completion."""
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(run, *job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C nothing more is started


def _commit() -> str | None:
    """The commit; None if files that affect the outcome differ from it."""
    git = shutil.which("git") or "git"

    def said(*words: str) -> str:
        return subprocess.run([git, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = said("status", "--porcelain", "--", "src", "tests", "benchmarks/mutations.py")
    return None if changed else said("rev-parse", "--short=12", "HEAD")


def main() -> None:
    """Run the mutations and write their outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file")
    parser.add_argument("--only", default="", metavar="FILE", help="part of the name of the mutated source file")
    parser.add_argument("--again", action="store_true", help="keep what was killed at other commits")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    record = Record(arguments.output, _commit(), arguments.again)
    todo = record.missing([one for one in MUTATIONS if arguments.only in one.file])
    known = {tuple(row["tests"]) for row in record.baseline}
    unmutated = sorted({one.tests for one in todo} - known)
    for (tests, _), result in _run_all([(tests, None) for tests in unmutated], arguments.workers):
        print(f"{result['outcome']:9} {result['seconds']:5} s  unmutated: {' '.join(tests)}", flush=True)
        record.add_baseline(tests, result)
    passing = record.passing()
    for (_, mutation), result in _run_all([(o.tests, o) for o in todo if o.tests in passing], arguments.workers):
        line = f"{mutation.file}: {mutation.old} -> {mutation.new}"
        print(f"{result['outcome']:9} {result['seconds']:5} s  {line}", flush=True)
        record.add(mutation, result)
    if failing := sorted({" ".join(one.tests) for one in todo} - {" ".join(tests) for tests in passing}):
        sys.exit(f"These tests do not pass without a mutation: {'; '.join(failing)}")


if __name__ == "__main__":
    main()
