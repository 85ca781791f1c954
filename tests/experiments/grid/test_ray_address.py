"""The address of a Ray cluster is checked before Ray is called; these tests need no Ray."""

from __future__ import annotations

import socket
import time

import pytest

from taichinet.errors import SettingError
from taichinet.experiments.grid.ray_cluster import refuse_unreachable


@pytest.mark.enable_socket
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_address_without_listener_is_rejected_quickly(scheme: str) -> None:
    with socket.socket() as server:  # bound but not listening, so no other process can listen there
        server.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(SettingError, match=r"No Ray cluster can be reached at .*127\.0\.0\.1.*ray start --head"):
            refuse_unreachable(address)
        assert time.monotonic() - began < 5
        server.listen()
        refuse_unreachable(address)


@pytest.mark.enable_socket
@pytest.mark.parametrize("address", ["a..b:6379", f"{'long' * 20}:6379", "127.0.0.1:99999"])
def test_unresolvable_address_is_rejected(address: str) -> None:
    with pytest.raises(SettingError, match=r"No Ray cluster can be reached"):
        refuse_unreachable(address)


@pytest.mark.parametrize("address", ["host:", ":6379", "host:port", "10.0.0.1:6379:x"])
def test_malformed_address_is_rejected(address: str) -> None:
    with pytest.raises(SettingError, match=r"is not an address. Write HOST:PORT"):
        refuse_unreachable(address)
