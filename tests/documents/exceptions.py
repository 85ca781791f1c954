"""The commands and snippets of the pages that test_run.py does not run, with the reasons. They are still parsed."""

from __future__ import annotations

import re

from documents.pages import Item

NOT_RUN = {
    r": taichinet models (--compute|-o) |: taichinet report results ": "writes a page or table; tests compare it",
    r": python -m taichinet\.experiments|: python benchmarks/readme": "writes files that tests compare",
    r"write\('phantoms', 90": "takes 9 s; inputs.py has fewer phantoms under this name",
    r": make ": "installs packages; the commands in the Makefile are run by other tests",
    r": pip |: python3? -m pip ": "needs a package index",
    r": (srun|scontrol|sleep|head) ": "Slurm and its helpers",
    r": ray |--cluster ": "Ray is an extra; tests/experiments/grid/test_ray_cluster.py runs it",
    r"--device cuda": "needs a GPU",
    r": docker ": "Docker is not installed where the tests run",
    r": python3? -m venv ": "the test has its own environment",
    r": python3? benchmarks/inference": "takes minutes; tests/benchmarks runs the scripts",
    r": taichinet train best-lite|/best-lite/|--weights my-weights": "needs the extra pretrained",
    r"pydicom": "is not a dependency",
    r": torchrun ": "needs a process per GPU; tests/cli/test_torchrun.py runs it",
    r": nnUNetv2_|: sh benchmarks/nnunet/": "nnU-Net is not a dependency, and trains for hours",
    r": python3? benchmarks/gpu_": "needs a GPU or minutes; tests/benchmarks runs the scripts",
    r"--track mlflow": "MLflow is an extra",
    r": taichinet --(install|show)-completion": "depends on the user's shell, and changes a file of it",
    r": taichinet figures (?!phantom-failures)": "needs eleven trainings; tests/cli/test_figures.py draws all figures",
    r"push_to_hub": "needs the Hugging Face Hub; tests/inference/test_hub.py has a server",
    r"^CONTRIBUTING\.md: \w+\.py$": "changes the registries; tests/test_contributing.py runs it and restores them",
}
"""Patterns, which are searched in `PAGE: COMMAND` and `PAGE: SNIPPET`, and their reasons."""


def exception_of(item: Item) -> str | None:
    """The pattern of the table that excludes a command or snippet from the run, or None."""
    return next((pattern for pattern in NOT_RUN if re.search(pattern, item.content)), None)
