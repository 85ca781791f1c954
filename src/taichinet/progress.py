"""Progress of long computations: they call a function that the caller has set, and print nothing.

The function is found in the context, like the handlers of `logging`, so that it is no parameter of every function
between the command and the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

_Item = TypeVar("_Item")

OnProgress = Callable[[str, int, int], None]
"""Called with what is done (e.g. "scoring images"), the number of completed items, and the number of all items."""

_on_progress: ContextVar[OnProgress | None] = ContextVar("on_progress", default=None)


@contextmanager
def progress_to(on_progress: OnProgress) -> Iterator[None]:
    """Report the progress of all loops within the block to `on_progress`.

    Args:
        on_progress: See `OnProgress`; called in the thread of the loop.
    """
    token = _on_progress.set(on_progress)
    try:
        yield
    finally:
        _on_progress.reset(token)


def tracked(items: Iterable[_Item], text: str, total: int | None = None) -> Iterator[_Item]:
    """Yield `items`, and report their number before the first one and after each.

    Args:
        items: The items of a loop.
        text: What is done with them.
        total: Their number; None if `items` has a length.

    Yields:
        The items.
    """
    if total is None:
        total = len(items) if isinstance(items, Collection) else 0
    report_progress(text, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        report_progress(text, done, total)


def report_progress(text: str, done: int, total: int) -> None:
    """Report that `done` of `total` items are completed."""
    on_progress = _on_progress.get()
    if on_progress is not None:
        on_progress(text, done, total)
