"""Launches the next batch on a GPU before the results of the last one are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Pending(Protocol):
    """A computation that has been launched."""

    def done(self) -> bool:
        """Whether its results are available without waiting."""


_Launched = TypeVar("_Launched", bound=Pending)


def one_ahead(launches: Iterable[_Launched]) -> Iterator[_Launched]:
    """The `launches` in order. One that is not done is yielded after the next has been launched.

    After a keyboard interrupt of `launches`, the one that is not done is yielded before the exception is raised.
    """
    waiting: list[_Launched] = []
    try:
        for launch in launches:
            yield from waiting
            waiting = [launch]
            if launch.done():
                waiting = []
                yield launch
    except KeyboardInterrupt:
        yield from waiting
        raise
    yield from waiting
