"""Claims: which process works in a folder, on shared storage too; a claim outlives no process that died.

A claim is a file created with O_EXCL, which local disks and NFS do atomically. It names its owner, whose thread
renews it every few seconds. It is taken over where its owner is a dead process of this machine, or has not renewed
it for `STALE_SECONDS` of the waiting process' own clock: clocks of two machines are never compared.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from taichinet.errors import ClaimedError

STALE_SECONDS = 60.0
POLL_SECONDS = 0.5

# Of each claim of another process: its (owner, change time) when it last changed, and when that was noticed here.
_noticed: dict[Path, tuple[tuple[str, int], float]] = {}


class Claim:
    """A claim that this process holds. `lost` is set where another process took it, after a long standstill."""

    def __init__(self, path: Path, content: str, stale_seconds: float) -> None:
        self.path = path
        self.lost = threading.Event()
        self._content = content
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, args=(stale_seconds / 4,), daemon=True)
        self._thread.start()

    def verify(self) -> None:
        """Raise ClaimedError where the claim has been lost: going on would write into another's folder."""
        if self.lost.is_set():
            raise ClaimedError(
                f"{self.path} was taken over by another process while this one stood still. Run the command again: it "
                "waits for that process or goes on from where it died."
            )

    def release(self) -> None:
        """Give it up; nothing happens where it is another's by now."""
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
            with suppress(OSError):  # an absent file or a storage that hangs is tried again
                os.utime(self.path)


@contextmanager
def claimed(
    path: Path,
    wait: bool = False,
    stale_seconds: float = STALE_SECONDS,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[Claim]:
    """Hold the claim `path` for the block; with `wait`, after whoever holds it now.

    Raises ClaimedError, which names the owner, where it is held and `wait` is false. `on_wait` hears that once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while (claim := _take(path, stale_seconds)) is None:
        owner = describe_owner(path)
        if not wait:
            raise ClaimedError(
                f"{path.parent} is worked on by {owner}. Wait for it; if you know that it is gone, delete {path}."
            )
        if not told:
            on_wait(owner)
            told = True
        time.sleep(POLL_SECONDS)
    try:
        yield claim
    finally:
        claim.release()


def describe_owner(path: Path) -> str:
    """For messages: "process 4711 on node3"."""
    owner = _parse(_read(path))
    return f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown machine')}"


def _take(path: Path, stale_seconds: float) -> Claim | None:
    content = json.dumps({**_own_identity(), "token": uuid4().hex})
    if _create(path, content) or (_is_stale(path, stale_seconds) and _take_over(path, content, stale_seconds)):
        _noticed.pop(path, None)
        return Claim(path, content, stale_seconds)
    return None


def _create(path: Path, content: str) -> bool:
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(file, content.encode())
        os.fsync(file)
    finally:
        os.close(file)
    return True


def _take_over(path: Path, content: str, stale_seconds: float) -> bool:
    """Replace a stale claim. A second claim guards this, so that two processes cannot both replace the first."""
    guard = path.with_name(f"{path.name}.takeover")
    if not _create(guard, content):
        if _is_stale(guard, stale_seconds):  # its owner died within a millisecond's work
            guard.unlink(missing_ok=True)
        return False
    try:
        if not path.exists() or not _is_stale(path, stale_seconds):
            return False  # another process was faster
        temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
        return True
    finally:
        guard.unlink(missing_ok=True)


def _is_stale(path: Path, stale_seconds: float) -> bool:
    content = _read(path)
    if content is None:
        return False
    owner, own = _parse(content), _own_identity()
    if owner.get("machine") == own["machine"] and _is_dead(owner):
        return True
    try:
        state = (content, path.stat().st_mtime_ns)
    except OSError:
        return False
    known, since = _noticed.get(path, (None, 0.0))
    if known != state:
        _noticed[path] = (state, time.monotonic())
        return False
    return time.monotonic() - since > stale_seconds


def _is_dead(owner: dict[str, Any]) -> bool:
    pid = owner.get("pid")
    return isinstance(pid, int) and _started(pid) != owner.get("started")


def _own_identity() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "machine": _machine(), "started": _started(pid)}


def _machine() -> str:
    """The boot and the space of process numbers: what a number means in one container it does not in another."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """When process `pid` began, in ticks since the boot: numbers are used again. None where it is gone, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _parse(content: str | None) -> dict[str, Any]:
    try:
        owner = json.loads(content or "")
    except ValueError:  # just created, not yet written
        return {}
    return owner if isinstance(owner, dict) else {}
