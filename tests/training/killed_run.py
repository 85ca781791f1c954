"""A training in a process of its own, to be killed: folder, epochs, threads, and where death strikes.

`after-epoch-2` ends it between two epochs; `while-saving-3` in the middle of writing the third checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import tiny_settings, train_tiny

from taichinet.training import checkpoint_writer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, threads: int, death: str) -> None:
    torch.set_num_threads(threads)
    checkpoint_writer.CHECKPOINT_SECONDS = 0
    whole_save = torch.save

    def half_save(content: dict[str, Any], file: Any) -> None:
        whole_save(content, file)
        if content["epoch"] == 3:
            file.truncate(file.tell() // 2)
            file.flush()
            die()

    def hear(row: dict[str, Any]) -> None:
        if death == "after-epoch-2" and row["epoch"] == 2:
            die()

    if death == "while-saving-3":
        patch.object(torch, "save", half_save).start()
    train_tiny(folder, tiny_settings(), on_epoch=hear)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
