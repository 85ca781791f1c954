"""Two processes under torchrun train one network: the loss curve of one process with the same batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import discs

from taichinet.datasets.phantom_folder import write_phantom_busi
from taichinet.errors import SettingError
from taichinet.training.team import ALONE, Team

# Sums in another order differ by 1e-7 at first; steps of Adam amplify that where a gradient is near zero.
LOSS_TOLERANCE = 1e-3
SETTINGS = {
    "options.width": 4,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.25,
    "training.epochs": 4,
    "training.batch_size": 5,  # shares of three and of two images
    "training.precision": "float32",
    "mining.epochs": 1,
    "mining.width": 2,
}


def train(data: Path, out: Path, processes: int, recipe: str) -> tuple[pd.DataFrame, str]:
    words = ["-m", "taichinet", "train", recipe, "--data", str(data), "--fold", "0", "--out", str(out)]
    words += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    if processes > 1:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *words]
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return pd.read_csv(out / f"busi/{recipe}/grouped/fold-0/history.csv"), done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize("recipe", ["cpu-taichinet", "cpu-aau-net"])  # BatchNorm of maps; of vectors too
def test_two_processes_have_the_loss_curve_of_one(recipe: str, tmp_path: Path) -> None:
    data = write_phantom_busi(tmp_path / "phantoms", 12, 10, 4, seed=1, height=64, width=80)
    one, _ = train(data, tmp_path / "one", 1, recipe)
    two, printed = train(data, tmp_path / "two", 2, recipe)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=LOSS_TOLERANCE)
    assert one["loss"].iloc[-1] < one["loss"].iloc[0]
    assert printed.count("Mean ± standard deviation") == 1  # the leader alone speaks
    assert len(two) == SETTINGS["training.epochs"]
    assert not list((tmp_path / "two").rglob("*claim*"))


def test_shares_are_the_batch_in_order_and_their_weighed_means_its_mean() -> None:
    batch = discs(7).batch(torch.arange(7))
    shares = [Team(rank, 3).share(batch) for rank in range(3)]
    torch.testing.assert_close(torch.cat([share.image for share in shares]), batch.image)
    torch.testing.assert_close(torch.cat([share.lesion for share in shares]), batch.lesion)
    parts = [Team(rank, 3).weigh(share.image.mean(), len(share.image), 7) for rank, share in enumerate(shares)]
    torch.testing.assert_close(sum(parts), batch.image.mean())
    assert ALONE.share(batch) is batch


def test_a_batch_of_fewer_images_than_processes_is_refused() -> None:
    with pytest.raises(SettingError, match="2 images cannot be shared by 3"):
        Team(0, 3).share(discs(2).batch(torch.arange(2)))
