"""Data sets are decoded in DECODING_THREADS threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from taichinet.datasets import dataset, prepared
from taichinet.datasets.decoded import DECODING_THREADS, DecodedFiles
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.datasets.readers.busi import DATASET


def test_files_are_verified_and_resized_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_phantom_busi(tmp_path, 2, 1, 1, seed=1, size=(64, 80))
    together = threading.Barrier(4)

    def wait_for_others(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            together.wait(timeout=10)
            return function(*arguments)

        return call

    for module in (dataset, prepared):
        monkeypatch.setattr(module, "DECODING_THREADS", 4)
    monkeypatch.setattr(DecodedFiles, "problems_in", wait_for_others(DecodedFiles.problems_in))
    manifest = DATASET.read(root)
    monkeypatch.setattr(DecodedFiles, "region_masks", wait_for_others(DecodedFiles.region_masks))
    assert prepared.prepare(manifest, 32, 1).keys == manifest.keys


def test_number_of_threads_is_limited() -> None:
    assert 2 <= DECODING_THREADS <= 16
