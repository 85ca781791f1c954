"""SIGTERM raises an exception within a block and has its default effect outside."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from taichinet.signals import raise_on_sigterm


def end_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)  # until the signal is delivered, which may take a moment on a busy machine


def test_sigterm_raises_the_error_and_the_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, raise_on_sigterm(SystemExit(143)):
        end_this_process()
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_handler_is_not_installed_outside_the_main_thread() -> None:
    handlers = []

    def work() -> None:
        with raise_on_sigterm(SystemExit(143)):
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
