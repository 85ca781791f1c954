"""A batch is launched before the results of the one before are waited for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from taichinet.training.launch import Launch, to_device
from taichinet.training.one_ahead import one_ahead

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Job:
    """A computation that is done when it is launched, or only when it is waited for."""

    def __init__(self, number: int, log: list[str], done: bool) -> None:
        self.number, self._log, self._done = number, log, done
        log.append(f"launch {number}")

    def done(self) -> bool:
        return self._done

    def wait(self) -> None:
        self._log.append(f"wait {self.number}")


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (False, ["launch 0", "launch 1", "wait 0", "launch 2", "wait 1", "wait 2"]),
        (True, ["launch 0", "wait 0", "launch 1", "wait 1", "launch 2", "wait 2"]),
    ],
)
def test_one_launch_is_ahead_unless_its_results_are_there(done: bool, expected: list[str]) -> None:
    log: list[str] = []
    for job in one_ahead(Job(number, log, done) for number in range(3)):
        job.wait()
    assert log == expected


def test_launch_before_a_keyboard_interrupt_is_not_lost() -> None:
    def launches() -> Iterator[Job]:
        yield Job(0, [], done=False)
        yield Job(1, [], done=False)
        raise KeyboardInterrupt

    ahead = one_ahead(launches())
    assert [next(ahead).number, next(ahead).number] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(ahead)


def test_on_the_cpu_a_launch_is_complete() -> None:
    launch = Launch(CPU, lambda: [torch.ones(2), torch.zeros(1)])
    assert launch.done()
    assert [result.tolist() for result in launch.results()] == [[1, 1], [0]]
    assert launch.seconds() > 0


class Event:
    """Stands in for an event of a GPU, which is reached when it is waited for."""

    log: list[str] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, **_: bool) -> None:
        self.reached = False

    def record(self) -> None:
        self.log.append("record")

    def query(self) -> bool:
        return self.reached

    def synchronize(self) -> None:
        self.reached = True

    def elapsed_time(self, end: Event) -> float:
        assert end.reached
        return 250.0


class OnDevice:
    """Stands in for a tensor, and logs its copies."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def pin_memory(self) -> OnDevice:
        self._log.append("pin")
        return self

    def to(self, target: Any, non_blocking: bool = False) -> OnDevice:
        self._log.append(f"to {target} {'without waiting' if non_blocking else 'waiting'}")
        return self


def test_on_a_gpu_results_are_copied_without_waiting_and_timed_by_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(Event, "log", log)

    def compute() -> Any:
        log.append("compute")
        return [OnDevice(log)]

    launch = Launch(GPU, compute)
    assert log == ["record", "compute", "to cpu without waiting", "record"]
    assert not launch.done()
    assert launch.seconds() == 0.25
    assert launch.done()


@pytest.mark.parametrize(("device", "expected"), [(CPU, ["to cpu waiting"]), (GPU, ["pin", "to cuda without waiting"])])
def test_images_are_copied_to_a_gpu_from_pinned_memory(device: torch.device, expected: list[str]) -> None:
    log: list[str] = []
    to_device(OnDevice(log), device)  # type: ignore[arg-type]
    assert log == expected
