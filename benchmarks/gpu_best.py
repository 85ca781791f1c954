"""Train our own recipes (`best`, `best-lite-224` and their U-Nets) within a time budget, for example on a rented GPU.

    python benchmarks/gpu_best.py --busi busi-224.zip --bus-uclm bus-uclm-224.zip --budget 9m --jobs 4 -o runs

The trainings are started in the order of PLAN, each fold in a process of its own. What the budget ends is continued by
the same command. At the end, the networks of each single data set are scored on the other one. See
docs/contribute/gpu.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from taichinet.cli.compare_budget import parse_time

FOLDS = 5
EVALUATION_SECONDS = 45.0  # kept for the evaluations at the end
BOTH = ("busi", "bus-uclm")
PLAN: tuple[tuple[str, tuple[str, ...], bool], ...] = (  # recipe, data sets, whether to train on all images too
    ("best-lite-224", BOTH, True),
    ("best-lite-224", ("busi",), False),
    ("best-lite-224-unet", BOTH, False),
    ("best-lite-224-unet", ("busi",), False),
    ("best-lite-224", ("bus-uclm",), False),
    ("best", ("busi",), False),
    ("best-unet", ("busi",), False),
)


@dataclass(frozen=True)
class Machine:
    """Files of the data sets by name, folder of all runs, and the time at which the budget ends."""

    files: dict[str, Path]
    runs: Path
    end: float

    def run(self, name: str, words: list[str]) -> None:
        """Run a command of taichinet unless the budget has ended, stop it at its end, and print how it went."""
        began = time.monotonic()
        if began >= self.end:
            print(f"not started: {name}", flush=True)
            return
        log = self.runs / "logs" / f"{name.replace(' ', '_')}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as stream:
            process = subprocess.Popen([sys.executable, "-m", "taichinet", *words], stdout=stream, stderr=stream)
            try:
                code = process.wait(self.end - began)
                state = "done" if code == 0 else f"exit code {code}, see {log}"
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
                state = "interrupted"
        print(f"{name}: {state}, {time.monotonic() - began:.0f} s", flush=True)


def trainings(machine: Machine) -> list[tuple[str, list[str]]]:
    """Name and arguments of each training."""
    commands = []
    for recipe, names, for_use in PLAN:
        words = ["train", recipe, "--resume", "-o", str(machine.runs)]
        words += [word for name in names for word in ("--data", f"{name}={machine.files[name]}")]
        study = f"{'+'.join(names)} {recipe}"
        commands += [(f"{study} fold {fold}", [*words, "--fold", str(fold)]) for fold in range(FOLDS)]
        if for_use:
            commands.append((f"{study} all images", [*words, "--all-images"]))
    return commands


def evaluations(machine: Machine) -> list[tuple[str, list[str]]]:
    """Name and arguments of each evaluation of the networks of one data set on the other."""
    commands = []
    for recipe, names, _ in PLAN:
        study = machine.runs / names[0] / recipe / "grouped"
        if len(names) == 1 and any(study.glob("fold-*/result.json")):
            other = next(name for name in BOTH if name not in names)
            words = ["evaluate", str(study), "--data", f"{other}={machine.files[other]}", "--normal"]
            commands.append((f"{names[0]} {recipe} on {other}", [*words, "-o", str(study / f"on-{other}")]))
    return commands


def main() -> None:
    """Train and evaluate within the budget."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busi", type=Path, required=True, help="BUSI, or a bundle of it at 224 px")
    parser.add_argument("--bus-uclm", type=Path, required=True, help="BUS-UCLM, or a bundle of it at 224 px")
    parser.add_argument("--budget", type=parse_time, required=True, metavar="TIME", help="e.g. 9m")
    parser.add_argument("--jobs", "-j", type=int, default=4, help="parallel trainings (default: 4)")
    parser.add_argument("--output", "-o", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    options = parser.parse_args()
    files = {"busi": options.busi, "bus-uclm": options.bus_uclm}
    end = began + options.budget
    for commands, until in ((trainings, end - EVALUATION_SECONDS), (evaluations, end)):
        machine = Machine(files, options.output, until)
        with ThreadPoolExecutor(options.jobs) as pool:
            for ended in [pool.submit(machine.run, *command) for command in commands(machine)]:
                ended.result()


if __name__ == "__main__":
    main()
