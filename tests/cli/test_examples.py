"""`data examples`: the images in the package, and where their scores come from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from choose_examples import ROOT, SCORES, choose

from taichinet.cli.data_examples import examples
from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.examples import FOLDER, RECORD_FILE, list_examples
from taichinet.errors import StorageError
from taichinet.storage.atomic import TEMPORARY_SUFFIX


def test_examples_in_the_package_are_those_of_the_rule() -> None:
    record = json.loads((FOLDER / RECORD_FILE).read_text(encoding="utf-8"))
    assert record == choose(pd.read_csv(ROOT / SCORES))
    assert len({row["patient"] for row in record["images"]}) == len(record["images"]) == 12
    for kind in ("images", "masks"):
        assert {path.name for path in (FOLDER / kind).iterdir()} == {row["file"] for row in record["images"]}
    for example in list_examples():
        with Image.open(example.image) as image, Image.open(example.mask) as mask:
            assert image.size == mask.size
            assert (mask.convert("L").getbbox() is not None) == example.lesion
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 800_000


def test_examples_are_written_as_a_data_set_and_replace_no_file_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my examples"
    examples(out, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"written": str(out), "images": 12, "lesion_images": 9}
    assert "CC BY 4.0" in (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    dataset, path = split_spec(str(out))
    assert len(dataset.read(path).samples) == 12
    image = next((out / "images").iterdir())
    original = image.read_bytes()
    examples(out)  # the same files again
    assert f"taichinet predict '{out / 'images'}' -o masks" in capsys.readouterr().out
    image.write_bytes(b"mine")
    with pytest.raises(StorageError, match=image.name):
        examples(out)
    assert image.read_bytes() == b"mine"
    examples(out, overwrite=True)
    assert image.read_bytes() == original
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        examples(tmp_path / "file")
    assert not list(tmp_path.rglob(f"*{TEMPORARY_SUFFIX}"))
