"""A fake of every data set in the catalogue: name -> (folder to write under) -> the data set's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fakes.busi import make_fake_busi
from fakes.ddti import make_fake_ddti
from fakes.monai import make_fake_monai
from fakes.nnunet import make_fake_nnunet

FAKES: dict[str, Callable[[Path], Path]] = {
    "busi": make_fake_busi,
    "ddti": make_fake_ddti,
    "nnunet": make_fake_nnunet,
    "monai": make_fake_monai,
}
