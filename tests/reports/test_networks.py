"""The table of networks: measured values, sources and notes on uncertain details."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.errors import SettingError
from taichinet.models.catalogue import CATALOGUE, create_model, list_models
from taichinet.models.complexity import count_parameters
from taichinet.reports import networks
from taichinet.reports.network_rows import NetworkRow
from taichinet.reports.networks import network_rows, networks_page


@pytest.fixture(scope="module")
def rows() -> list[NetworkRow]:
    return network_rows(64, 3)


def test_command_prints_every_network_as_json() -> None:
    result = CliRunner().invoke(app, ["models", "--size", "64", "--channels", "1", "--json"])
    assert result.exit_code == 0
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert tuple(rows) == list_models()
    assert rows["unet"]["parameters"] == count_parameters(create_model("unet"))
    assert rows["ce-net"]["pretrained"] == "file"
    assert rows["x-net"]["confidence"] == "low"
    assert "reconstruction" in rows["x-net"]["note"]


def test_page_has_all_notes_and_printed_parameters(rows: list[NetworkRow]) -> None:
    page = networks_page(rows, 64, 3)
    for entry in CATALOGUE.values():
        assert f"| {entry.title} | " in page
        assert entry.note in page
    assert "| `model-4` | 18,325,826 |" in page


def test_gflops_are_proportional_to_image_area(rows: list[NetworkRow], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "list_models", lambda: ("unet",))
    small, large = ({row.name: row.gflops for row in some} for some in (rows, network_rows(128, 3)))
    assert small["unet"] * 4 == pytest.approx(large["unet"])


def test_unsupported_size_is_rejected_with_supported_sizes() -> None:
    with pytest.raises(SettingError, match="multiple of 32"):
        network_rows(80, 1)
    with pytest.raises(SettingError, match="multiples of 16, not 0"):
        network_rows(0, 1)
