"""A fake of every data set in the catalogue: name -> (folder to write under) -> the data set's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fakes.breast import make_fake_breast
from fakes.bus_bra import make_fake_bus_bra
from fakes.bus_uclm import make_fake_bus_uclm
from fakes.busi import make_fake_busi
from fakes.ddti import make_fake_ddti
from fakes.drishti_gs import make_fake_drishti_gs
from fakes.folder import make_fake_folder
from fakes.monai import make_fake_monai
from fakes.nnunet import make_fake_nnunet
from fakes.refuge import make_fake_refuge
from fakes.stu_hospital import make_fake_stu_hospital
from fakes.tn3k import make_fake_tn3k
from fakes.tn_scui2020 import make_fake_tn_scui2020
from fakes.udiat import make_fake_udiat

FAKES: dict[str, Callable[[Path], Path]] = {
    "breast": make_fake_breast,
    "bus-bra": make_fake_bus_bra,
    "bus-uclm": make_fake_bus_uclm,
    "busi": make_fake_busi,
    "ddti": make_fake_ddti,
    "folder": make_fake_folder,
    "stu-hospital": make_fake_stu_hospital,
    "tn3k": make_fake_tn3k,
    "tn-scui2020": make_fake_tn_scui2020,
    "udiat": make_fake_udiat,
    "drishti-gs": make_fake_drishti_gs,
    "refuge": make_fake_refuge,
    "nnunet": make_fake_nnunet,
    "monai": make_fake_monai,
}
