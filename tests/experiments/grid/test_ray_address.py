"""The address of a Ray cluster is tried before Ray is asked; this needs no Ray."""

from __future__ import annotations

import socket
import time

import pytest

from taichinet.errors import SettingError
from taichinet.experiments.grid.ray_cluster import refuse_unreachable


@pytest.mark.enable_socket
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_refused_at_once(scheme: str) -> None:
    with socket.socket() as taken:  # bound, but not listening: nobody else can listen there
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(SettingError, match=r"No Ray cluster can be reached at .*127\.0\.0\.1.*ray start --head"):
            refuse_unreachable(address)
        assert time.monotonic() - began < 5
        taken.listen()
        refuse_unreachable(address)


@pytest.mark.enable_socket
@pytest.mark.parametrize("address", ["a..b:6379", f"{'long' * 20}:6379", "127.0.0.1:99999"])
def test_an_address_that_no_host_can_have_does_not_answer(address: str) -> None:
    with pytest.raises(SettingError, match=r"No Ray cluster can be reached"):
        refuse_unreachable(address)


@pytest.mark.parametrize("address", ["host:", ":6379", "host:port", "10.0.0.1:6379:x"])
def test_what_is_no_address_is_told_so(address: str) -> None:
    with pytest.raises(SettingError, match=r"is not an address. Write HOST:PORT"):
        refuse_unreachable(address)
