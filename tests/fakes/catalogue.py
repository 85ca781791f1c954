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
from fakes.refuge import make_fake_refuge

FAKES: dict[str, Callable[[Path], Path]] = {
    "breast": make_fake_breast,
    "bus-bra": make_fake_bus_bra,
    "bus-uclm": make_fake_bus_uclm,
    "busi": make_fake_busi,
    "ddti": make_fake_ddti,
    "drishti-gs": make_fake_drishti_gs,
    "refuge": make_fake_refuge,
}
