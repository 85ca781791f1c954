"""Training in a separate process that kills itself. Arguments: folder, number of threads, and time of the kill.

`after-epoch-2` kills it between two epochs, `while-saving-3` during the writing of the third checkpoint.
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


def kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, threads: int, kill_at: str) -> None:
    torch.set_num_threads(threads)
    checkpoint_writer.CHECKPOINT_SECONDS = 0
    full_save = torch.save

    def half_save(content: dict[str, Any], file: Any) -> None:
        full_save(content, file)
        if content["epoch"] == 3:
            file.truncate(file.tell() // 2)
            file.flush()
            kill_process()

    def on_epoch(row: dict[str, Any]) -> None:
        if kill_at == "after-epoch-2" and row["epoch"] == 2:
            kill_process()

    if kill_at == "while-saving-3":
        patch.object(torch, "save", half_save).start()
    train_tiny(folder, tiny_settings(), on_epoch=on_epoch)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
