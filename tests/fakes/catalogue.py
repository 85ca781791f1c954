"""A fake of every data set in the catalogue: name -> (folder to write under) -> the data set's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fakes.busi import make_fake_busi
from fakes.ddti import make_fake_ddti
from fakes.folder import make_fake_folder
from fakes.stu_hospital import make_fake_stu_hospital
from fakes.tn3k import make_fake_tn3k
from fakes.tn_scui2020 import make_fake_tn_scui2020
from fakes.udiat import make_fake_udiat

FAKES: dict[str, Callable[[Path], Path]] = {
    "busi": make_fake_busi,
    "ddti": make_fake_ddti,
    "folder": make_fake_folder,
    "stu-hospital": make_fake_stu_hospital,
    "tn3k": make_fake_tn3k,
    "tn-scui2020": make_fake_tn_scui2020,
    "udiat": make_fake_udiat,
}
