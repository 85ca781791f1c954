"""Locks on folders: only one process at a time works in a folder, also on shared storage.

A lock is a file created with O_EXCL, which is atomic on local disks and NFS. It names the process that holds it and is
renewed by a thread of this process every few seconds. Another process takes it over if the owner is a dead process of
the same machine, or if it has not been renewed for `STALE_SECONDS`, measured with the clock of the waiting process.
An empty or damaged lock file is treated as one that is not renewed.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from taichinet.errors import LockedError, StorageError
from taichinet.storage.atomic import write_text

STALE_SECONDS = 60.0
POLL_SECONDS = 0.5

State = tuple[str | None, int]  # content and change time of a lock file

logger = logging.getLogger(__name__)

# For each lock of another process: its state when it last changed, and when that was noticed here.
_noticed: dict[Path, tuple[State, float]] = {}


class Lock:
    """A lock held by this process. `lost` is set if another process took it over after this one was suspended."""

    def __init__(self, path: Path, content: str, stale_seconds: float) -> None:
        self.path = path
        self.lost = threading.Event()
        self._content = content
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, args=(stale_seconds / 4,), daemon=True)
        self._thread.start()

    def verify(self) -> None:
        """Raise LockedError if the lock has been lost: this process must no longer write to the folder."""
        if self.lost.is_set():
            raise LockedError(
                f"{self.path} was taken over by another process while this one did not run. Run the command again: it "
                "waits for that process or resumes where it stopped."
            )

    def release(self) -> None:
        """Remove the lock file, unless another process has taken over the lock."""
        self._stop.set()
        self._thread.join()
        if _read(self.path) == self._content:
            self.path.unlink(missing_ok=True)

    def _renew(self, interval: float) -> None:
        while not self._stop.wait(interval):
            content = _read(self.path)
            if content is not None and content != self._content:
                self.lost.set()
                return
            with suppress(OSError):  # retried if the file is absent or the storage does not respond
                os.utime(self.path)


@contextmanager
def locked(path: Path, wait: bool = False, stale_seconds: float | None = None) -> Iterator[Lock]:
    """Hold the lock `path` for the block. Waiting and taking over are logged as warnings.

    Args:
        path: The lock file, in the folder that it protects.
        wait: Whether to wait for a running owner. Otherwise LockedError is raised at once if the owner is known to run
            on this machine, and as soon as the lock is renewed if this cannot be determined (another machine or
            container). A lock that is not renewed is taken over in either case.
        stale_seconds: Time without renewal after which a lock is taken over; `STALE_SECONDS` by default.

    Yields:
        The lock.

    Raises:
        LockedError: Another process holds it, and `wait` is false. The message names that process.
        StorageError: The lock file cannot be written.
    """
    patience = STALE_SECONDS if stale_seconds is None else stale_seconds
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(path, wait, patience)
    except OSError as error:
        raise StorageError(f"Cannot write the lock {path} ({error}). Free disk space or check permissions.") from error
    try:
        yield lock
    finally:
        lock.release()


def describe_owner(path: Path) -> str:
    """Describe the owner of a lock for messages, e.g. "process 4711 on node3"."""
    owner = _parse(_read(path))
    if not owner:
        return "an unknown process"
    return f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown machine')}"


def _acquire(path: Path, wait: bool, stale_seconds: float) -> Lock:
    first: State | None = None
    while (lock := _take(path, stale_seconds)) is None:
        state = _state(path)
        if state is None:  # released in between
            continue
        works = _is_running(_parse(state[0])) or first not in (None, state)
        if works and not wait:
            raise LockedError(
                f"{path.parent} is locked by {describe_owner(path)}. Wait for it to end; if you know that it has "
                f"ended, delete {path}."
            )
        if first is None:
            plan = "waiting until it ends" if works else f"waiting up to {stale_seconds:.0f} s for a sign that it runs"
            logger.warning("%s is locked by %s: %s.", path.parent, describe_owner(path), plan)
            first = state
        time.sleep(min(POLL_SECONDS, stale_seconds / 4))
    return lock


def _take(path: Path, stale_seconds: float) -> Lock | None:
    content = json.dumps({**_own_identity(), "token": uuid4().hex})
    # Both are checked in every round, so that a lock and its guard become stale at the same time.
    stale, stale_guard = _is_stale(path, stale_seconds), _is_stale(_guard(path), stale_seconds)
    if _create(path, content) or (stale and _take_over(path, content, stale_seconds, stale_guard)):
        _noticed.pop(path, None)
        _noticed.pop(_guard(path), None)
        return Lock(path, content, stale_seconds)
    return None


def _create(path: Path, content: str) -> bool:
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        if os.write(file, content.encode()) < len(content.encode()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError:  # do not leave an empty or truncated lock on a full disk
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return True


def _take_over(path: Path, content: str, stale_seconds: float, stale_guard: bool) -> bool:
    """Replace a stale lock. A second lock file guards this, so that two processes cannot both replace the first."""
    guard = _guard(path)
    if stale_guard:  # its owner died while taking over the lock
        guard.unlink(missing_ok=True)
        return False
    if not _create(guard, content):
        return False
    try:
        if not _is_stale(path, stale_seconds):
            return False  # another process was faster
        logger.warning("Taking over %s: %s has ended or no longer renews it.", path, describe_owner(path))
        write_text(path, content)
        return True
    finally:
        guard.unlink(missing_ok=True)


def _guard(path: Path) -> Path:
    return path.with_name(f"{path.name}.takeover")


def _is_stale(path: Path, stale_seconds: float) -> bool:
    state = _state(path)
    if state is None:
        return False
    if _is_dead(_parse(state[0])):
        return True
    known, since = _noticed.get(path, (None, 0.0))
    if known != state:
        _noticed[path] = (state, time.monotonic())
        return False
    return time.monotonic() - since > stale_seconds


def _state(path: Path) -> State | None:
    try:
        return _read(path), path.lstat().st_mtime_ns
    except OSError:
        return None


def _is_dead(owner: dict[str, Any]) -> bool:
    return _is_of_this_machine(owner) and _started(owner["pid"]) != owner.get("started")


def _is_running(owner: dict[str, Any]) -> bool:
    """Whether `owner` is known to run; False if this cannot be determined."""
    return _is_of_this_machine(owner) and _started(owner["pid"]) == owner.get("started") is not None


def _is_of_this_machine(owner: dict[str, Any]) -> bool:
    """Whether the process ID of `owner` can be looked up on this machine."""
    return isinstance(owner.get("pid"), int) and owner.get("machine") == _machine() and _lists_own_processes()


def _lists_own_processes() -> bool:
    """Whether /proc uses the process IDs of this process; in a new PID namespace it may show the outer ones."""
    try:
        return str(Path("/proc/self").readlink()) == str(os.getpid())
    except OSError:
        return False


def _own_identity() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "machine": _machine(), "started": _started("self")}


def _machine() -> str:
    """Identify host, boot and PID namespace, within which a process ID is unique."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int | str) -> str | None:
    """Return the start time of a process in ticks since boot; None if it has ended or is a zombie. IDs are reused."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _parse(content: str | None) -> dict[str, Any]:
    try:
        owner = json.loads(content or "")
    except (ValueError, RecursionError):  # just created and not yet written, or damaged
        return {}
    return owner if isinstance(owner, dict) else {}
