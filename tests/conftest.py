"""Options and fixtures of all tests: the fast tier (`--fast`), and session fixtures for expensive files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from filelock import FileLock

if TYPE_CHECKING:
    import onnx

    from taichinet.models.weights_folder import LoadedWeights

# Without a GPU, Triton's interpreter runs the kernels of taichinet.training.gpu. It reads this when it is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

os.environ["TAICHINET_CACHE"] = os.devnull  # no test reads or writes the records of the user

TESTS = Path(__file__).parent
SLOW = (
    "benchmarks",
    "cli/test_budget.py",
    "cli/test_bundle.py",
    "cli/test_commands.py",
    "cli/test_compare.py",
    "cli/test_data.py",
    "cli/test_data_check.py",
    "cli/test_decoding.py",
    "cli/test_demo.py",
    "cli/test_figures.py",
    "cli/test_interrupted.py",
    "cli/test_joined_bundle_training.py",
    "cli/test_joint_training.py",
    "cli/test_json.py",
    "cli/test_no_machine_paths.py",
    "cli/test_no_network.py",
    "cli/test_predict.py",
    "cli/test_torchrun.py",
    "cli/test_training_options.py",
    "contracts/test_every_dataset.py",
    "contracts/test_every_network.py",
    "datasets/duplicates",
    "datasets/test_bundle.py",
    "datasets/test_phantom.py",
    "datasets/test_prepared.py",
    "documents/test_run.py",
    "experiments/grid",
    "experiments/test_distillation.py",
    "experiments/test_initial_weights.py",
    "experiments/test_joined_bundles.py",
    "experiments/test_longer.py",
    "experiments/test_mining_leakage.py",
    "experiments/test_other_device.py",
    "experiments/test_run.py",
    "experiments/test_validation_card.py",
    "experiments/transport",
    "inference/test_export.py",
    "inference/test_predictor.py",
    "inference/test_runtimes.py",
    "models/baselines/test_deeplab.py",
    "models/baselines/test_fat_net.py",
    "models/baselines/test_rf_net.py",
    "models/test_variants.py",
    "reports/figures",
    "reports/paper_tables",
    "reports/test_networks.py",
    "reports/test_overlay.py",
    "reports/test_reliability.py",
    "reports/test_validation_card.py",
    "sessions",
    "storage/test_full_disk.py",
    "storage/test_lock.py",
    "test_api.py",
    "training/test_allocator.py",
    "training/test_device_copies.py",
    "training/test_distributed.py",
    "training/test_easy_hard.py",
    "training/test_fit.py",
)
"""Files and folders that `--fast` leaves out: they train whole runs, start processes or export networks."""

BuildOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="Leave out the slow files (tests/conftest.py) and tests.")


def pytest_configure(config: pytest.Config) -> None:
    absent = [path for path in SLOW if not (TESTS / path).exists()]
    if config.getoption("--fast") and absent:
        raise pytest.UsageError(f"SLOW in tests/conftest.py lists files that do not exist: {', '.join(absent)}.")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    slow = config.getoption("--fast") and any(collection_path == TESTS / path for path in SLOW)
    return True if slow else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        fast = [item for item in items if not {"slow", "real"} & {mark.name for mark in item.iter_markers()}]
        config.hook.pytest_deselected(items=list(set(items) - set(fast)))
        items[:] = fast


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> BuildOnce:
    """`build_once(name, build)` returns the path written by `build`; the processes of pytest-xdist share it on disk."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # common to all processes

    def once(name: str, build: Callable[[Path], object]) -> Path:
        path, partial = folder / f"shared-{name}", folder / f"partial-{name}"
        with FileLock(folder / f"{name}.lock"):
            if not path.exists():
                build(partial)
                partial.rename(path)
        return path

    return once


@pytest.fixture(scope="session")
def shared_graph(build_once: BuildOnce) -> Callable[..., onnx.ModelProto]:
    """`network_graph`, called once per set of weights because capturing a network takes seconds."""
    import onnx

    from taichinet.inference.export.graph import network_graph

    def graph(loaded: LoadedWeights, transposed: bool = False) -> onnx.ModelProto:
        config = loaded.config
        content = hashlib.sha256(json.dumps([config.model, config.options, config.size, transposed]).encode())
        for name, value in loaded.network.state_dict().items():
            content.update(name.encode())
            content.update(value.cpu().contiguous().numpy().tobytes())
        name = f"{content.hexdigest()[:24]}.onnx"
        path = build_once(name, lambda partial: onnx.save(network_graph(loaded, transposed=transposed), partial))
        return onnx.load(path)

    return graph
